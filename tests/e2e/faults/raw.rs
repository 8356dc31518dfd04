//! Clients that no library would be: they send what they like, as slowly or as much as they like.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use super::LONG;

/// Between two drops of a client that is slow on purpose.
const DRIP: Duration = Duration::from_millis(20);
/// No answer to these has more.
const MOST_ANSWER: usize = 64 << 10;

/// What an HTTP/2 client says first, its settings included.
pub(super) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How it ended with such a client.
#[derive(Debug)]
pub(super) struct Ended {
    /// What it was told, as text.
    pub(super) told: String,
    /// How much it could send.
    pub(super) sent: u64,
    pub(super) after: Duration,
}

/// Sends the start of something and then this drop by drop, until the other side closes.
pub(super) async fn drip(at: SocketAddr, start: &[u8], drop: &[u8]) -> Ended {
    let begun = Instant::now();
    let mut io = TcpStream::connect(at).await.unwrap();
    io.write_all(start).await.unwrap();
    let (mut told, mut sent, mut clock) = (Vec::new(), start.len() as u64, interval(DRIP));
    let ended = timeout(LONG, async {
        let mut buffer = [0; 4096];
        loop {
            tokio::select! {
                read = io.read(&mut buffer) => match read {
                    Ok(read @ 1..) => told.extend_from_slice(&buffer[..read]),
                    Ok(0) | Err(_) => return,
                },
                _ = clock.tick() => match io.write_all(drop).await {
                    Ok(()) => sent += drop.len() as u64,
                    Err(_) => return,
                },
            }
        }
    });
    ended.await.expect("it is closed in time");
    Ended { told: String::from_utf8_lossy(&told).into_owned(), sent, after: begun.elapsed() }
}

/// Sends the start of something and then this piece as often and as fast as the other side takes it, until it closes
/// or `most` bytes have been taken.
pub(super) async fn flood(at: SocketAddr, start: &[u8], piece: &[u8], most: u64) -> Ended {
    let begun = Instant::now();
    let (from, mut to) = TcpStream::connect(at).await.unwrap().into_split();
    let reading = tokio::spawn(async move {
        let mut told = Vec::new();
        // The rest of what a closed connection said may be lost; what it said before is not.
        let _ = from.take(MOST_ANSWER as u64).read_to_end(&mut told).await;
        told
    });
    let mut sent = 0;
    let writing = timeout(LONG, async {
        to.write_all(start).await?;
        while sent < most && !reading.is_finished() {
            to.write_all(piece).await?;
            sent += piece.len() as u64;
        }
        Ok::<_, std::io::Error>(())
    });
    let _ = writing.await.expect("it is over in time");
    let told = timeout(LONG, reading).await.expect("it is closed in time").unwrap();
    Ended { told: String::from_utf8_lossy(&told).into_owned(), sent, after: begun.elapsed() }
}

/// Asks, and reads until the other side closes.
pub(super) async fn ask(at: SocketAddr, request: &[u8]) -> String {
    let mut io = TcpStream::connect(at).await.unwrap();
    // Whoever is refused early may find the connection closed while still sending.
    let _ = io.write_all(request).await;
    let mut told = Vec::new();
    let _ = timeout(LONG, io.read_to_end(&mut told)).await.expect("it is closed in time");
    String::from_utf8_lossy(&told).into_owned()
}
