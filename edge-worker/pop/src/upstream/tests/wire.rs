//! A path on which UDP can stop to pass.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{AbortHandle, JoinSet};

/// A wire for datagrams to one place and back, which can be cut.
pub(super) struct Wire {
    pub(super) cut: Arc<AtomicBool>,
    pub(super) address: SocketAddr,
    tcp: AbortHandle,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// It lies before the UDP port of `to`; its own port passes TCP as well, which is not cut with it.
    pub(super) async fn to(to: SocketAddr) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("an address")).await {
                break (tcp, Arc::new(udp));
            }
        };
        let address = tcp.local_addr().expect("an address");
        let cut = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let tcp = tasks.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((mut near, _)) = tcp.accept().await {
                streams.spawn(async move {
                    let mut far = TcpStream::connect(to).await.expect("a connection");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        let is_cut = cut.clone();
        tasks.spawn(async move {
            let mut far: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
            let mut back = JoinSet::new();
            let mut datagram = vec![0; 65_536];
            while let Ok((length, from)) = udp.recv_from(&mut datagram).await {
                if is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                let socket = match far.get(&from) {
                    Some(socket) => socket.clone(),
                    None => {
                        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
                        socket.connect(to).await.expect("an address");
                        far.insert(from, socket.clone());
                        let (udp, answers, is_cut) = (udp.clone(), socket.clone(), is_cut.clone());
                        back.spawn(async move {
                            let mut datagram = vec![0; 65_536];
                            while let Ok(length) = answers.recv(&mut datagram).await {
                                if !is_cut.load(Ordering::Relaxed) {
                                    let _ = udp.send_to(&datagram[..length], from).await;
                                }
                            }
                        });
                        socket
                    }
                };
                let _ = socket.send(&datagram[..length]).await;
            }
        });
        Self { cut, address, tcp, _tasks: tasks }
    }

    /// From now on there is nobody who takes TCP.
    pub(super) fn cut_tcp(&self) {
        self.tcp.abort();
    }
}
