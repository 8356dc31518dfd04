//! The body of an HTTP/3 request, as the rest of the front reads bodies.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use h3::server::RequestStream;
use hyper::body::Frame;

use super::metered::{Meter, RecvStream};

/// The body of a request. Dropped before its end, the client is told to stop.
pub(crate) struct Body {
    stream: RequestStream<RecvStream, Bytes>,
    meter: Meter,
}

impl Body {
    pub(super) fn new(stream: RequestStream<RecvStream, Bytes>, meter: Meter) -> Self {
        Self { stream, meter }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let read = ready!(self.stream.poll_recv_data(cx)).map(|data| {
            let mut data = data?;
            Some(data.copy_to_bytes(data.remaining()))
        });
        Poll::Ready(match read {
            Ok(Some(bytes)) => {
                self.meter.handed(bytes.len());
                Some(Ok(Frame::data(bytes)))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        })
    }
}
