//! Tells HTTP/2 from HTTP/1 on a plain connection by its first bytes.
//!
//! hyper-util can do this too, but waits for those bytes without end; here the caller sets the bound.

use std::io::{self, Cursor};

use tokio::io::{AsyncRead, AsyncReadExt, Chain, Join, join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::connection::Protocol;

/// What an HTTP/2 client with prior knowledge says first (RFC 9113 §3.4). No HTTP/1 request starts like it.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that is read from its first byte, though those have been looked at.
pub(crate) type Sniffed = Join<Chain<Cursor<Vec<u8>>, OwnedReadHalf>, OwnedWriteHalf>;

/// Reads as much as it takes to know. `None`: the client left before.
pub(crate) async fn sniff(tcp: TcpStream) -> io::Result<Option<(Sniffed, Protocol)>> {
    let (mut reader, writer) = tcp.into_split();
    let Some((head, protocol)) = protocol(&mut reader).await? else { return Ok(None) };
    Ok(Some((join(Cursor::new(head).chain(reader), writer), protocol)))
}

async fn protocol(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Vec<u8>, Protocol)>> {
    let mut head = Vec::with_capacity(PREFACE.len());
    loop {
        let mut rest = [0; PREFACE.len()];
        let rest = &mut rest[head.len()..];
        let read = reader.read(rest).await?;
        if read == 0 {
            return Ok(None);
        }
        head.extend_from_slice(&rest[..read]);
        if !PREFACE.starts_with(&head) {
            return Ok(Some((head, Protocol::Http1)));
        }
        if head.len() == PREFACE.len() {
            return Ok(Some((head, Protocol::Http2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(sent: &[u8]) -> Option<(Vec<u8>, Protocol)> {
        protocol(&mut Cursor::new(sent)).await.expect("memory can be read")
    }

    #[tokio::test]
    async fn a_preface_is_http2_and_all_else_is_http1() {
        assert_eq!(told(PREFACE).await, Some((PREFACE.to_vec(), Protocol::Http2)));
        assert_eq!(told(b"POST / HTTP/1.1\r\n").await, Some((b"POST / HTTP/1.1\r\n".to_vec(), Protocol::Http1)));
        assert_eq!(told(b"PRI * HTTP/1.1\r\n\r\n").await.map(|(_, protocol)| protocol), Some(Protocol::Http1));
        assert_eq!(told(b"\0").await.map(|(_, protocol)| protocol), Some(Protocol::Http1));
    }

    #[tokio::test]
    async fn a_client_that_leaves_early_said_nothing() {
        assert_eq!(told(b"").await, None);
        assert_eq!(told(b"PRI * HT").await, None);
    }
}
