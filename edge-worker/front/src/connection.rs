//! One connection over TCP, from its first request to its last.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::mem::take;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::drain::{Stage, StageWatch};
use crate::idle::{Activity, Leaving};
use crate::router::MAX_HEAD_BYTES;

/// Beyond this a head is refused by the protocol's own means, without a problem document.
pub(crate) const MAX_RAW_HEAD_BYTES: usize = 4 * MAX_HEAD_BYTES;
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to notice that its idle connection closes.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From the opening, or on HTTP/1 from the last answer, to the end of the next request's head.
    pub(crate) header_timeout: Duration,
    /// From the last answer to the next request.
    pub(crate) idle_timeout: Option<Duration>,
    /// For an answer to leave, where one connection has several of them.
    pub(crate) send_timeout: Duration,
    /// Requests of one client at a time on HTTP/2 and HTTP/3; what is above waits at the client.
    pub(crate) max_streams: u32,
}

/// Answers requests until the client leaves, misbehaves, has nothing more to ask, or the front closes and the last
/// answer is out.
pub(crate) async fn serve<I, S>(io: I, protocol: Protocol, service: S, bounds: Bounds, stage: StageWatch)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let io = TokioIo::new(io);
    let activity = Activity::new();
    let counting = activity.clone();
    let service = service_fn(move |request| {
        let (busy, answer) = (counting.begin(), service.call(request));
        async move {
            let answer = answer.await;
            drop(busy);
            answer
        }
    });
    let unused = async {
        tokio::select! {
            () = activity.idle_for(bounds.idle_timeout) => {}
            () = activity.stuck_for(bounds.send_timeout) => {}
        }
    };
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(bounds.header_timeout)
                .max_header_size(MAX_RAW_HEAD_BYTES)
                .serve_connection(io, service);
            until_closed(connection, unused, stage).await;
        }
        Protocol::Http2 => {
            let leaving = activity.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let bare = request.method() == Method::HEAD;
                let (answer, leaving) = (service.call(request), leaving.clone());
                async move {
                    let Ok(answer) = answer.await;
                    let (head, body) = if bare { without_body(answer) } else { answer }.into_parts();
                    let Ok(body) = body.collect().await;
                    let body = Sent { rest: body.to_bytes(), _leaving: leaving.leave() };
                    Ok::<_, Infallible>(Response::from_parts(head, body))
                }
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(bounds.max_streams)
                .max_header_list_size(u32::try_from(MAX_RAW_HEAD_BYTES).unwrap_or(u32::MAX))
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_TIMEOUT)
                .serve_connection(io, service);
            until_closed(connection, unused, stage).await;
        }
    }
}

/// The answer to `HEAD`, for protocols that do not see to it: the length is told, and the body left out.
pub(crate) fn without_body(answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = answer.into_parts();
    // These have no body, and no length of one (RFC 9110 §8.6).
    if !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let length = body.size_hint().exact().unwrap_or_default();
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    Response::from_parts(head, Full::default())
}

/// The body of an answer over HTTP/2. The last byte is kept back until the client has room for all before it: what is
/// handed over at once would wait, unseen, for a client that never reads.
struct Sent {
    rest: Bytes,
    _leaving: Leaving,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match self.rest.len() {
            0 => return Poll::Ready(None),
            1 => take(&mut self.rest),
            more => self.rest.split_to(more - 1),
        };
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

async fn until_closed<C>(connection: C, unused: impl Future<Output = ()>, mut stage: StageWatch)
where
    C: GracefulConnection,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stage.reached(Stage::Closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = unused => {
            connection.as_mut().graceful_shutdown();
            timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(e) = ended {
        let e: Box<dyn Error + Send + Sync> = e.into();
        tracing::debug!(error = %e, "a connection broke off");
    }
}
