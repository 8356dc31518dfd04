//! A TLS listener: on TCP, and where HTTP/3 is taken on the UDP port of the same number.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::ALT_SVC;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::task::JoinSet;

use super::{Bounds, Listener, Secure, Security};
use crate::connection;
use crate::drain::StageWatch;
use crate::router::{self, Entrance, Site};
use crate::{Ranker, quic};

/// Ports that the system may choose for TCP before one is free for UDP as well.
const TRIES: usize = 16;
/// How long a client may count on HTTP/3 being there, in seconds.
const HTTP3_FOR: u32 = 86_400;

/// Both sockets of a TLS listener, bound.
pub(crate) struct Pair {
    tcp: Listener,
    udp: Option<quic::Endpoint>,
    address: SocketAddr,
}

/// Which of the two could not be bound.
pub(crate) enum Unbound {
    Tcp(io::Error),
    Udp(io::Error),
}

impl Pair {
    pub(crate) async fn bind(
        address: SocketAddr,
        secure: Secure,
        http3: bool,
        each: connection::Bounds,
    ) -> Result<Self, Unbound> {
        let mut tries = if address.port() == 0 { TRIES } else { 1 };
        loop {
            let tcp = Listener::bind(address, Security::Tls(secure.clone())).await.map_err(Unbound::Tcp)?;
            let address = tcp.address().map_err(Unbound::Tcp)?;
            if !http3 {
                return Ok(Self { tcp, udp: None, address });
            }
            tries -= 1;
            match quic::Endpoint::bind(address, secure.clone(), each) {
                Ok(udp) => return Ok(Self { tcp, udp: Some(udp), address }),
                // The port that the system chose was free for TCP alone.
                Err(_taken) if tries > 0 => {}
                Err(error) => return Err(Unbound::Udp(error)),
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer, in tasks of the set.
    pub(crate) fn serve<R: Ranker>(
        self,
        site: &Arc<Site<R>>,
        entrance: Entrance,
        bounds: &Bounds,
        stage: &StageWatch,
        tasks: &mut JoinSet<()>,
    ) {
        let Self { tcp, udp, address } = self;
        let elsewhere = (udp.is_some() && entrance == Entrance::Clients).then(|| alternative(address.port()));
        let on_tcp = site.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let (site, elsewhere) = (on_tcp.clone(), elsewhere.clone());
            async move {
                let mut response = router::answer(site, entrance, request).await;
                if let Some(elsewhere) = elsewhere {
                    response.headers_mut().insert(ALT_SVC, elsewhere);
                }
                Ok::<_, Infallible>(response)
            }
        });
        tasks.spawn(tcp.run(answer, bounds.clone(), stage.clone()));
        if let Some(udp) = udp {
            let site = site.clone();
            let answer = move |request: Request<quic::Body>| router::answer(site.clone(), entrance, request);
            tasks.spawn(udp.run(answer, bounds.clone(), stage.clone()));
        }
    }
}

/// `Alt-Svc` (RFC 7838): the same, over HTTP/3, at the same host.
fn alternative(port: u16) -> HeaderValue {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma={HTTP3_FOR}")).expect("digits are a header value")
}
