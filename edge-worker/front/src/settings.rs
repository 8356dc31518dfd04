//! What a front is told at start: plain values, so that it does not know how a daemon is configured.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
use shared_model::wire::Tier;

use crate::Cors;

/// Where a front listens, as which tier, and what it takes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tier behind the front; it prefixes the metrics.
    pub tier: Tier,
    /// Plain HTTP/1.1 and HTTP/2 (prior knowledge). Port 0 leaves the port to the system.
    pub http: Option<SocketAddr>,
    /// HTTP/1.1 and HTTP/2 over TLS 1.3.
    pub https: Option<Https>,
    /// Where the tiers below pass requests up, and nothing else is answered: to be made with
    /// [`crate::tls::Server::only_for`].
    pub tiers: Option<Https>,
    /// Whether these two take HTTP/3 as well, on the UDP ports of the same numbers.
    pub http3: bool,
    /// Health, readiness, metrics and drain; not for clients.
    pub admin: SocketAddr,
    /// The bounds on everything from outside.
    pub limits: Limits,
    /// What it makes of clients.
    pub clients: Clients,
    /// How long a draining front says so on `/readyz` before it stops accepting, so that balancers look away first.
    pub drain_notice: Duration,
}

/// What a front makes of clients beside their requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// The web pages that may ask; `None` is none.
    pub cors: Option<Cors>,
    /// Where a CDN says where the client is; a request that says so itself is believed first.
    pub geo_header: Option<HeaderName>,
}

/// A TLS listener.
#[derive(Clone, Debug)]
pub struct Https {
    /// Where.
    pub address: SocketAddr,
    /// As whom, and with whom.
    pub tls: crate::tls::Server,
}

/// The bounds on what comes in. All are above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body; a longer one is answered with 413.
    pub max_body_bytes: usize,
    /// How deep JSON may nest; a deeper body is answered with 422.
    pub max_json_depth: usize,
    /// Connections of clients open at a time; one more is closed at once.
    pub max_connections: usize,
    /// From a connection's opening, or on HTTP/1.1 from its last answer, to the end of the next request's head.
    pub header_timeout: Duration,
    /// From the last answer on a client's connection until it is closed, whatever its protocol.
    pub idle_timeout: Duration,
    /// From the head of a request to the end of its body; a slower one is answered with 408. Also how long an answer over
    /// HTTP/2 or 3 may take to leave.
    pub body_timeout: Duration,
    /// Requests worked on at a time; one more is answered with 429.
    pub max_in_flight: usize,
    /// The timeout of a request that names none.
    pub default_timeout: Duration,
    /// The longest timeout; a request that names a longer one is given this.
    pub max_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_json_depth: 32,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(5),
            max_in_flight: 256,
            default_timeout: Duration::from_millis(100),
            max_timeout: Duration::from_secs(10),
        }
    }
}
