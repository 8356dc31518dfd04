//! The streams of a QUIC connection as h3 reads them, with a bound on what it keeps.
//!
//! h3 collects a frame until it is whole, however long its header says that it is; only data frames it hands on as they
//! arrive. A head, or a frame of a kind that nobody knows, could so fill the memory. Here every stream has a meter:
//! what was read and not handed on stays below a limit. While a head is read, more is an error; while a body is read,
//! it waits at the client, and the body's timeout ends what never fits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use h3_quinn::quinn;

use crate::connection::MAX_RAW_HEAD_BYTES;

/// What h3 may keep of one request. A head that is too long by less is answered with 431. The heads of data frames
/// count too and are never handed on: a client that sends its body byte by byte comes to the limit.
const MAX_HELD_BYTES: usize = 2 * MAX_RAW_HEAD_BYTES;
/// What may come on a stream of the connection's own, as long as it lives.
const MAX_CONTROL_BYTES: usize = 1 << 20;

/// How much of a stream is kept; a clone is of the same stream.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    held: AtomicUsize,
    limit: usize,
    in_body: AtomicBool,
}

impl Meter {
    fn new(limit: usize) -> Self {
        Self(Arc::new(Counts { held: AtomicUsize::new(0), limit, in_body: AtomicBool::new(false) }))
    }

    /// The head is there and no longer kept.
    pub(super) fn body_begins(&self) {
        self.0.held.store(0, Ordering::Relaxed);
        self.0.in_body.store(true, Ordering::Relaxed);
    }

    /// Part of the body is kept no longer.
    pub(super) fn handed(&self, bytes: usize) {
        let _ = self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
    }

    fn read(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether more may be read now.
    fn ask(&self) -> Poll<Result<(), StreamErrorIncoming>> {
        if self.0.held.load(Ordering::Relaxed) < self.0.limit {
            Poll::Ready(Ok(()))
        } else if self.0.in_body.load(Ordering::Relaxed) {
            // Whoever reads the body asks again once it has handed on what is kept.
            Poll::Pending
        } else {
            Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: Code::H3_EXCESSIVE_LOAD.value() }))
        }
    }
}

/// A connection whose streams are metered.
pub(super) struct Connection {
    inner: h3_quinn::Connection,
    latest: Latest,
}

/// The meter of the request that was accepted last.
#[derive(Clone, Default)]
pub(super) struct Latest(Arc<Mutex<Option<Meter>>>);

impl Latest {
    /// To be asked once for each request, before the next one is accepted.
    pub(super) fn take(&self) -> Option<Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Connection {
    pub(super) fn new(connection: quinn::Connection) -> (Self, Latest) {
        let latest = Latest::default();
        (Self { inner: h3_quinn::Connection::new(connection), latest: latest.clone() }, latest)
    }
}

impl<B: Buf> quic::Connection<B> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = OpenStreams;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(RecvStream { inner, meter: Meter::new(MAX_CONTROL_BYTES) }))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_bidi(&mut self.inner, cx))?;
        let meter = Meter::new(MAX_HELD_BYTES);
        *self.latest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(meter.clone());
        Poll::Ready(Ok(BidiStream { inner, meter }))
    }

    fn opener(&self) -> OpenStreams {
        OpenStreams(quic::Connection::<B>::opener(&self.inner))
    }
}

impl<B: Buf> quic::OpenStreams<B> for Connection {
    type BidiStream = BidiStream<B>;
    type SendStream = h3_quinn::SendStream<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, StreamErrorIncoming>> {
        let inner = ready!(quic::OpenStreams::<B>::poll_open_bidi(&mut self.inner, cx))?;
        Poll::Ready(Ok(BidiStream { inner, meter: Meter::new(MAX_HELD_BYTES) }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<B>::poll_open_send(&mut self.inner, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<B>::close(&mut self.inner, code, reason);
    }
}

/// Opens streams of a metered connection.
pub(super) struct OpenStreams(h3_quinn::OpenStreams);

impl<B: Buf> quic::OpenStreams<B> for OpenStreams {
    type BidiStream = BidiStream<B>;
    type SendStream = h3_quinn::SendStream<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, StreamErrorIncoming>> {
        let inner = ready!(quic::OpenStreams::<B>::poll_open_bidi(&mut self.0, cx))?;
        Poll::Ready(Ok(BidiStream { inner, meter: Meter::new(MAX_HELD_BYTES) }))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<B>::poll_open_send(&mut self.0, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<B>::close(&mut self.0, code, reason);
    }
}

/// A metered stream to read from.
pub(super) struct RecvStream {
    inner: h3_quinn::RecvStream,
    meter: Meter,
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        poll_data(&mut self.inner, &self.meter, cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

/// A metered stream of a request.
pub(super) struct BidiStream<B: Buf> {
    inner: h3_quinn::BidiStream<B>,
    meter: Meter,
}

impl<B: Buf> quic::BidiStream<B> for BidiStream<B> {
    type SendStream = h3_quinn::SendStream<B>;
    type RecvStream = RecvStream;

    fn split(self) -> (Self::SendStream, RecvStream) {
        let (send, inner) = self.inner.split();
        (send, RecvStream { inner, meter: self.meter })
    }
}

impl<B: Buf> quic::RecvStream for BidiStream<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        poll_data(&mut self.inner, &self.meter, cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<B: Buf> quic::SendStream<B> for BidiStream<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

fn poll_data(
    inner: &mut impl quic::RecvStream<Buf = Bytes>,
    meter: &Meter,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
    ready!(meter.ask())?;
    let data = ready!(inner.poll_data(cx))?;
    meter.read(data.as_ref().map_or(0, Bytes::len));
    Poll::Ready(Ok(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_over_the_limit_is_an_error_and_a_body_waits() {
        let meter = Meter::new(100);
        meter.read(99);
        assert!(matches!(meter.ask(), Poll::Ready(Ok(()))));
        meter.read(1);
        assert!(matches!(meter.ask(), Poll::Ready(Err(_))));
        meter.body_begins();
        meter.read(150);
        assert!(meter.ask().is_pending());
        meter.handed(60);
        assert!(matches!(meter.ask(), Poll::Ready(Ok(()))));
    }
}
