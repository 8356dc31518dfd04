//! A TLS stream that remembers what TLS itself found wrong.
//!
//! The other side may refuse our certificate after the handshake is over at this end. The alert that says why comes as
//! an error of a read, and HTTP/2 keeps of it no more than a text.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use front::tls::Fault;
use hyper::rt::{Read, ReadBufCursor, Write};

/// A stream, and the ear on it.
pub(super) struct Overheard<T> {
    io: T,
    fault: Ear,
}

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Ear(Arc<OnceLock<Fault>>);

impl<T> Overheard<T> {
    pub(super) fn new(io: T) -> (Self, Ear) {
        let fault = Ear::default();
        (Self { io, fault: fault.clone() }, fault)
    }
}

impl Ear {
    /// What TLS found wrong, if anything.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.0.get().cloned()
    }

    fn hear<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            let _ = self.0.set(Fault::of_io(error));
        }
        result
    }
}

impl<T: Read + Unpin> Read for Overheard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, to);
        self.fault.hear(read)
    }
}

impl<T: Write + Unpin> Write for Overheard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.fault.hear(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.fault.hear(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.fault.hear(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.fault.hear(shut)
    }
}
