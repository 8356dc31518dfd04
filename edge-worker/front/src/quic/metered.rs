//! The streams of a QUIC connection as h3 reads them, with a bound on what it keeps.
//!
//! h3 collects a frame until it is whole, however long its header says that it is; only data frames it hands on as they
//! arrive. A head, or a frame of a kind that nobody knows, could so fill the memory. Here every stream has a meter:
//! what was read and not handed on stays below a limit, and so do all heads of a connection together. While a head is
//! read, more is an error; while a body is read, it waits at the client, and the body's timeout ends what never fits.

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
/// What h3 may keep of the heads of one client, which on TCP come one after the other.
const MAX_HEADS_BYTES: usize = 8 * MAX_HELD_BYTES;
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
    /// Of all streams of the connection whose heads are not there yet.
    heads: Heads,
}

/// How much is kept of the heads of a connection.
#[derive(Clone, Debug, Default)]
struct Heads(Arc<AtomicUsize>);

impl Meter {
    fn new(limit: usize, heads: Heads) -> Self {
        Self(Arc::new(Counts { held: AtomicUsize::new(0), limit, in_body: AtomicBool::new(false), heads }))
    }

    /// The head is there and no longer kept.
    pub(super) fn body_begins(&self) {
        self.0.head_ends();
        self.0.in_body.store(true, Ordering::Relaxed);
    }

    /// Part of the body is kept no longer.
    pub(super) fn handed(&self, bytes: usize) {
        let _ = self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
    }

    fn read(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
        if !self.0.in_body.load(Ordering::Relaxed) {
            self.0.heads.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Whether more may be read now.
    fn ask(&self) -> Poll<Result<(), StreamErrorIncoming>> {
        let fits = self.0.held.load(Ordering::Relaxed) < self.0.limit;
        if self.0.in_body.load(Ordering::Relaxed) {
            // Whoever reads the body asks again once it has handed on what is kept.
            if fits { Poll::Ready(Ok(())) } else { Poll::Pending }
        } else if fits && self.0.heads.0.load(Ordering::Relaxed) < MAX_HEADS_BYTES {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code: Code::H3_EXCESSIVE_LOAD.value() }))
        }
    }
}

impl Counts {
    fn head_ends(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        self.heads.0.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        if !self.in_body.load(Ordering::Relaxed) {
            self.head_ends();
        }
    }
}

/// A connection whose streams are metered.
pub(super) struct Connection {
    inner: h3_quinn::Connection,
    heads: Heads,
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
        (Self { inner: h3_quinn::Connection::new(connection), heads: Heads::default(), latest: latest.clone() }, latest)
    }
}

impl<B: Buf> quic::Connection<B> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = OpenStreams;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(RecvStream { inner, meter: Meter::new(MAX_CONTROL_BYTES, Heads::default()) }))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream<B>, ConnectionErrorIncoming>> {
        let inner = ready!(quic::Connection::<B>::poll_accept_bidi(&mut self.inner, cx))?;
        let meter = Meter::new(MAX_HELD_BYTES, self.heads.clone());
        *self.latest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(meter.clone());
        Poll::Ready(Ok(BidiStream::new(inner, meter)))
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
        Poll::Ready(Ok(BidiStream::new(inner, Meter::new(MAX_HELD_BYTES, Heads::default()))))
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
        Poll::Ready(Ok(BidiStream::new(inner, Meter::new(MAX_HELD_BYTES, Heads::default()))))
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
        ready!(self.meter.ask())?;
        let data = ready!(self.inner.poll_data(cx))?;
        self.meter.read(data.as_ref().map_or(0, Bytes::len));
        Poll::Ready(Ok(data))
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

/// A stream to answer on. One that is given up is reset: its end would say that what came is all.
pub(super) struct SendStream<B: Buf> {
    inner: h3_quinn::SendStream<B>,
    said: Said,
}

/// How much of an answer has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    PartOfAFrame,
    /// Also what h3 says by itself of a head that is too long, without an end.
    WholeFrames,
}

impl<B: Buf> quic::SendStream<B> for SendStream<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        ready!(self.inner.poll_ready(cx))?;
        if self.said == Said::PartOfAFrame {
            self.said = Said::WholeFrames;
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.said = Said::PartOfAFrame;
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

impl<B: Buf> Drop for SendStream<B> {
    fn drop(&mut self) {
        if self.said != Said::WholeFrames {
            quic::SendStream::<B>::reset(&mut self.inner, Code::H3_REQUEST_CANCELLED.value());
        }
    }
}

/// A metered stream of a request.
pub(super) struct BidiStream<B: Buf> {
    send: SendStream<B>,
    recv: RecvStream,
}

impl<B: Buf> BidiStream<B> {
    fn new(inner: h3_quinn::BidiStream<B>, meter: Meter) -> Self {
        let (send, recv) = quic::BidiStream::<B>::split(inner);
        Self { send: SendStream { inner: send, said: Said::Nothing }, recv: RecvStream { inner: recv, meter } }
    }
}

impl<B: Buf> quic::BidiStream<B> for BidiStream<B> {
    type SendStream = SendStream<B>;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream<B>, RecvStream) {
        (self.send, self.recv)
    }
}

impl<B: Buf> quic::RecvStream for BidiStream<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl<B: Buf> quic::SendStream<B> for BidiStream<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_over_the_limit_is_an_error_and_a_body_waits() {
        let meter = Meter::new(100, Heads::default());
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

    #[test]
    fn the_heads_of_a_connection_share_a_limit_until_they_are_there() {
        let heads = Heads::default();
        let stream = || Meter::new(MAX_HELD_BYTES, heads.clone());
        let open: Vec<_> = (0..8).map(|_| stream()).collect();
        open.iter().for_each(|meter| meter.read(MAX_HELD_BYTES));
        let next = stream();
        assert!(matches!(next.ask(), Poll::Ready(Err(_))));
        open[0].body_begins();
        open[0].read(MAX_HELD_BYTES);
        assert!(matches!(next.ask(), Poll::Ready(Ok(()))), "a body is another matter");
        next.read(MAX_HELD_BYTES);
        assert!(matches!(stream().ask(), Poll::Ready(Err(_))));
        drop(open);
        assert!(matches!(stream().ask(), Poll::Ready(Ok(()))));
        drop(next);
        assert_eq!(heads.0.load(Ordering::Relaxed), 0);
    }
}
