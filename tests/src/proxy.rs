//! A network between two tiers that a test can break: TCP and UDP are passed on at one port, until told otherwise.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Ports that the system may choose for TCP before one is free for UDP as well.
const TRIES: usize = 16;
/// No datagram between tiers is longer.
const DATAGRAM: usize = 64 << 10;

/// The network; a clone is the same one. It goes with the runtime that it was started on.
#[derive(Clone, Debug)]
pub struct Proxy {
    port: u16,
    wire: Arc<Wire>,
}

#[derive(Debug, Default)]
struct Wire {
    /// Where it leads to; 0: nowhere yet.
    above: AtomicU16,
    /// How much may still come down by TCP before it is cut.
    left: Mutex<Option<u64>>,
    cuts: AtomicU64,
    cut_all: Notify,
    connections: AtomicU64,
    /// How late all is that comes down, in milliseconds.
    late_ms: AtomicU64,
    udp_blocked: AtomicBool,
    lost: AtomicU64,
}

impl Proxy {
    /// A network that leads nowhere yet and passes everything on.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        let mut tries = TRIES;
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            tries -= 1;
            match UdpSocket::bind(tcp.local_addr()?).await {
                Ok(udp) => break (tcp, udp),
                Err(_taken) if tries > 0 => {}
                Err(error) => return Err(error),
            }
        };
        let (port, wire) = (tcp.local_addr()?.port(), Arc::<Wire>::default());
        tokio::spawn(wire.clone().pass_connections(tcp));
        tokio::spawn(wire.clone().pass_datagrams(Arc::new(udp)));
        Ok(Self { port, wire })
    }

    /// Leads to a port of the loopback from now on. Returns its own.
    pub fn lead_to(&self, above: u16) -> u16 {
        self.wire.above.store(above, Ordering::Relaxed);
        self.port
    }

    /// Cuts the TCP connection on which the last of so many further bytes comes down, right after it.
    pub fn cut_after(&self, bytes: u64) {
        *self.wire.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// How often it has cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.wire.cuts.load(Ordering::Relaxed)
    }

    /// Cuts every TCP connection that there is.
    pub fn cut_all(&self) {
        self.wire.cut_all.notify_waiters();
    }

    /// How many TCP connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.wire.connections.load(Ordering::Relaxed)
    }

    /// Keeps back for so long all that comes down, from now on.
    pub fn delay(&self, late: Duration) {
        self.wire.late_ms.store(late.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Loses every datagram, or no longer.
    pub fn block_udp(&self, blocked: bool) {
        self.wire.udp_blocked.store(blocked, Ordering::Relaxed);
    }

    /// How many datagrams it has lost on purpose.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.wire.lost.load(Ordering::Relaxed)
    }
}

impl Wire {
    fn above(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.above.load(Ordering::Relaxed)).into()
    }

    async fn pass_connections(self: Arc<Self>, tcp: TcpListener) {
        while let Ok((below, _)) = tcp.accept().await {
            let wire = self.clone();
            tokio::spawn(async move {
                let Ok(above) = TcpStream::connect(wire.above()).await else { return };
                wire.connections.fetch_add(1, Ordering::Relaxed);
                let _ = (below.set_nodelay(true), above.set_nodelay(true));
                let ((mut from_below, to_below), (from_above, mut to_above)) = (below.into_split(), above.into_split());
                // When one direction ends, so does the other: what is dropped is closed.
                tokio::select! {
                    _ = tokio::io::copy(&mut from_below, &mut to_above) => {}
                    _ = wire.come_down(from_above, to_below) => {}
                    () = wire.cut_all.notified() => {}
                }
            });
        }
    }

    async fn come_down(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut buffer).await?;
            sleep(self.late()).await;
            let passed = self.may_pass(read);
            to.write_all(&buffer[..passed.unwrap_or(read)]).await?;
            if read == 0 || passed.is_some() {
                return Ok(());
            }
        }
    }

    /// How many of these bytes may pass before the cut, if it comes among them.
    fn may_pass(&self, bytes: usize) -> Option<usize> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.as_mut()?.checked_sub(bytes as u64).filter(|rest| *rest > 0) {
            Some(rest) => {
                *left = Some(rest);
                None
            }
            None => {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                left.take().and_then(|last| usize::try_from(last).ok())
            }
        }
    }

    async fn pass_datagrams(self: Arc<Self>, udp: Arc<UdpSocket>) {
        let mut above = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
        let mut buffer = vec![0; DATAGRAM];
        loop {
            // An error is an earlier datagram's, which somebody did not take.
            let Ok((read, below)) = udp.recv_from(&mut buffer).await else { continue };
            if self.loses() {
                continue;
            }
            let socket = match above.entry(below) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let Ok(socket) = self.reach().await else { continue };
                    let back = self.clone().pass_back(socket.clone(), udp.clone(), below);
                    tokio::spawn(back);
                    new.insert(socket)
                }
            };
            let _ = socket.send(&buffer[..read]).await;
        }
    }

    async fn reach(&self) -> io::Result<Arc<UdpSocket>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(self.above()).await?;
        Ok(Arc::new(socket))
    }

    async fn pass_back(self: Arc<Self>, from: Arc<UdpSocket>, to: Arc<UdpSocket>, below: SocketAddr) {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let Ok(read) = from.recv(&mut buffer).await else { continue };
            if self.loses() {
                continue;
            }
            let late = self.late();
            if late.is_zero() {
                let _ = to.send_to(&buffer[..read], below).await;
            } else {
                let (to, datagram) = (to.clone(), buffer[..read].to_vec());
                tokio::spawn(async move {
                    sleep(late).await;
                    let _ = to.send_to(&datagram, below).await;
                });
            }
        }
    }

    fn late(&self) -> Duration {
        Duration::from_millis(self.late_ms.load(Ordering::Relaxed))
    }

    /// Whether a datagram that is there now gets lost.
    fn loses(&self) -> bool {
        let blocked = self.udp_blocked.load(Ordering::Relaxed);
        self.lost.fetch_add(blocked.into(), Ordering::Relaxed);
        blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_comes_after_exactly_as_many_bytes_as_it_was_told() {
        let wire = Wire { left: Mutex::new(Some(10)), ..Wire::default() };
        let passed = [wire.may_pass(4), wire.may_pass(5), wire.may_pass(7), wire.may_pass(7)];
        assert_eq!(passed, [None, None, Some(1), None]);
        assert_eq!(wire.cuts.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_cut_at_the_end_of_what_comes_leaves_it_whole() {
        let wire = Wire { left: Mutex::new(Some(4)), ..Wire::default() };
        assert_eq!((wire.may_pass(4), wire.may_pass(4)), (Some(4), None));
    }
}
