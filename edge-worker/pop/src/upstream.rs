//! The tier above: one escalation up, one [`Outcome`] back, never an error.
//!
//! ```text
//! ask ── Breaker (may we?) ─┬─ Http3 (if it is there) ─┬─ POST /v1/escalate ── Reply | Gone
//!                           └─ Link (HTTP/2) ──────────┘
//! ```
//!
//! Connections are made and kept by tasks of their own, so that they do not depend on the deadline of the request that
//! happens to need one first. An upstream that is known to be down is not waited for. A request that HTTP/3 loses goes
//! by HTTP/2 while its time lasts: ranking twice does no harm.

mod breaker;
mod http3;
mod link;
mod overheard;
mod route;

#[cfg(test)]
pub(crate) mod above;
#[cfg(test)]
mod tests;

pub use breaker::BreakerSettings;

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use front::RequestId;
use front::tls::{self, Rotation};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use rustls_pki_types::ServerName;
use shared_model::ladder::Outcome;
use shared_model::wire::{Escalation, Reply, from_cbor, to_cbor};
use tokio::time::timeout_at;

use crate::budget;
use crate::metrics::UpstreamMetrics;
use breaker::{Breaker, Pass, Told};
use http3::{Http3, Up};
use link::Link;

/// The longest reply that is read.
const MAX_REPLY_BYTES: usize = 16 << 20;
/// A reply that is late after less than this says more of the request's deadline than of the upstream.
const FAIR_TRIAL: Duration = Duration::from_millis(40);

/// Where the tier above is and how to reach it.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// Host and port, as in the URL.
    pub authority: Authority,
    /// The default port of the scheme applies if the authority has none.
    pub security: Security,
    /// Until connected, TLS and a first answer included.
    pub connect_timeout: Duration,
    /// When to stop asking.
    pub breaker: BreakerSettings,
}

/// Plain or encrypted.
#[derive(Clone, Debug)]
pub enum Security {
    /// HTTP/2 with prior knowledge.
    Plain,
    /// HTTP/2 over TLS, and perhaps HTTP/3.
    Tls {
        /// Whom to trust, and as whom.
        client: Box<tls::Client>,
        /// The name in its certificate.
        name: ServerName<'static>,
        /// Whether to find out if HTTP/3 gets there.
        http3: bool,
    },
}

/// The tier above.
pub(crate) struct Upstream {
    link: Link,
    http3: Option<Http3>,
    uri: Uri,
    settings: BreakerSettings,
    breaker: Mutex<Breaker>,
    metrics: UpstreamMetrics,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Missing {
    #[error("it is not connected: {0}")]
    Down(String),
    #[error("no reply within {0:?}")]
    Late(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its reply is not one: {0}")]
    Nonsense(String),
}

impl Upstream {
    /// Begins to connect. Needs a running tokio runtime.
    pub(crate) fn new(settings: UpstreamSettings, metrics: UpstreamMetrics) -> Self {
        let scheme = match settings.security {
            Security::Plain => "http",
            Security::Tls { .. } => "https",
        };
        let uri = Uri::builder().scheme(scheme).authority(settings.authority.clone());
        let uri = uri.path_and_query(front::ESCALATE_PATH).build().expect("an authority and a path make a URI");
        let breaker = settings.breaker;
        let (link, http3) = connect(settings, &uri, &metrics);
        Self { link, http3, uri, settings: breaker, breaker: Mutex::new(Breaker::new()), metrics }
    }

    /// Asks, and waits until `until` at most. The escalation's time left is filled in.
    pub(crate) async fn ask(&self, mut escalation: Escalation, id: &RequestId, until: Instant) -> Outcome {
        let asked = Instant::now();
        let Some(mut attempt) = Attempt::begin(self, asked) else {
            self.metrics.unasked();
            return Outcome::Gone;
        };
        let remaining = budget::for_upstream(asked, until);
        escalation.remaining_us = u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX);
        let body = Bytes::from(to_cbor(&escalation));
        let given = until.saturating_duration_since(asked);
        let reply = match timeout_at(until.into(), self.exchange(body, id, given)).await {
            Ok(reply) => reply,
            Err(_) => Err(Missing::Late(given)),
        };
        attempt.told = match &reply {
            Ok(_) => Told::Success,
            Err(missing) => missing.tells(),
        };
        drop(attempt);
        match reply {
            Ok(reply) => {
                self.metrics.asked("reply", asked.elapsed());
                Outcome::Reply(reply)
            }
            Err(missing) => {
                self.metrics.asked(missing.name(), asked.elapsed());
                tracing::warn!(upstream = %self.uri, request_id = %id, reason = %missing, "the tier above did not reply");
                Outcome::Gone
            }
        }
    }

    async fn exchange(&self, body: Bytes, id: &RequestId, left: Duration) -> Result<Reply, Missing> {
        let (status, body) = match self.http3.as_ref().and_then(Http3::up) {
            Some(up) => self.over_either(&up, body, id, left).await?,
            None => self.over_http2(body, id).await?,
        };
        if status != StatusCode::OK {
            return Err(Missing::Status(status));
        }
        from_cbor(&body).map_err(|error| Missing::Nonsense(error.to_string()))
    }

    /// By HTTP/3, and if that breaks or falls silent, by HTTP/2.
    async fn over_either(&self, up: &Up, body: Bytes, id: &RequestId, left: Duration) -> Result<Whole, Missing> {
        self.metrics.sent("http3");
        let heard = up.heard();
        let mut third = pin!(up.exchange(self.request(body.clone(), id)));
        let broken = |reason: String| {
            tracing::debug!(request_id = %id, reason, "HTTP/3 failed a request: it goes by HTTP/2");
            self.metrics.fell_back("broken");
            up.retire();
        };
        tokio::select! {
            whole = third.as_mut() => match whole {
                Ok(whole) => return Ok(whole),
                Err(reason) => {
                    broken(reason);
                    return self.over_http2(body, id).await;
                }
            },
            () = up.silent_since(heard, left) => {}
        }
        // Perhaps the acknowledgement is only late: whichever answers first.
        self.metrics.fell_back("silent");
        let mut second = pin!(self.over_http2(body, id));
        tokio::select! {
            whole = third.as_mut() => match whole {
                Ok(whole) => Ok(whole),
                Err(reason) => {
                    tracing::debug!(request_id = %id, reason, "HTTP/3 failed a request");
                    up.retire();
                    second.await
                }
            },
            whole = second.as_mut() => match whole {
                Ok(whole) => {
                    if up.heard() == heard {
                        up.give_up();
                    }
                    Ok(whole)
                }
                // Then HTTP/3 is all there is, late or not.
                Err(missing) => match third.await {
                    Ok(whole) => Ok(whole),
                    Err(reason) => {
                        tracing::debug!(request_id = %id, reason, "HTTP/3 failed a request, and HTTP/2 did");
                        up.retire();
                        Err(missing)
                    }
                },
            },
        }
    }

    async fn over_http2(&self, body: Bytes, id: &RequestId) -> Result<Whole, Missing> {
        self.metrics.sent("http2");
        let response = match self.send(body.clone(), id).await? {
            Sent::Response(response) => response,
            // A connection that its peer is closing says nothing about the next.
            Sent::Unsent => match self.send(body, id).await? {
                Sent::Response(response) => response,
                Sent::Unsent => return Err(Missing::Broken("it closed twice before the request was sent".to_owned())),
            },
        };
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Ok((head.status, Bytes::new()));
        }
        let body = Limited::new(body, MAX_REPLY_BYTES).collect().await;
        Ok((head.status, body.map_err(|error| Missing::Broken(error.to_string()))?.to_bytes()))
    }

    async fn send(&self, body: Bytes, id: &RequestId) -> Result<Sent, Missing> {
        let mut sender = self.link.sender().await.map_err(Missing::Down)?;
        if sender.ready().await.is_err() {
            return Ok(Sent::Unsent);
        }
        match sender.try_send_request(self.request(body, id).map(Full::new)).await {
            Ok(response) => Ok(Sent::Response(response)),
            Err(error) if error.message().is_some() => Ok(Sent::Unsent),
            Err(error) => Err(Missing::Broken(error.into_error().to_string())),
        }
    }

    fn request(&self, body: Bytes, id: &RequestId) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let cbor = HeaderValue::from_static(front::CBOR);
        request.headers_mut().insert(ACCEPT, cbor.clone());
        request.headers_mut().insert(CONTENT_TYPE, cbor);
        id.pass_on(request.headers_mut());
        request
    }
}

/// Begins to connect, by whatever the settings allow.
fn connect(settings: UpstreamSettings, uri: &Uri, metrics: &UpstreamMetrics) -> (Link, Option<Http3>) {
    let (tls, quic) = match &settings.security {
        Security::Plain => (None, None),
        Security::Tls { client, name, http3 } => {
            let tls = Rotation::start(client.as_ref().clone(), "upstream", metrics.tls.clone());
            (Some(tls.clone()), http3.then(|| (tls, name.clone())))
        }
    };
    let link = Link::keep(link::Target { settings, tls, uri: uri.clone() }, metrics.clone());
    let http3 = quic.map(|(tls, name)| {
        let target = http3::Target { uri: uri.clone(), name, tls, peer: link.peer() };
        Http3::keep(target, metrics.clone())
    });
    (link, http3)
}

/// A status and a whole body.
type Whole = (StatusCode, Bytes);

enum Sent {
    Response(Response<Incoming>),
    Unsent,
}

/// A pass of the breaker. Dropped, it tells what it knows: nothing, if its request was given up.
struct Attempt<'a> {
    upstream: &'a Upstream,
    pass: Pass,
    told: Told,
}

impl<'a> Attempt<'a> {
    fn begin(upstream: &'a Upstream, now: Instant) -> Option<Self> {
        let pass = upstream.breaker(|breaker| breaker.ask(&upstream.settings, now))?;
        Some(Self { upstream, pass, told: Told::Nothing })
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let settings = &self.upstream.settings;
        self.upstream.breaker(|breaker| (breaker.tell(self.pass, self.told, settings, Instant::now()), ()));
    }
}

impl Upstream {
    fn breaker<T>(&self, change: impl FnOnce(Breaker) -> (Breaker, T)) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, result) = change(*breaker);
        if next.level() != breaker.level() {
            tracing::warn!(upstream = %self.uri, from = ?*breaker, to = ?next, "the breaker changes");
            self.metrics.breaker(next.level());
        }
        *breaker = next;
        result
    }
}

impl Missing {
    /// What it says about the upstream's health.
    fn tells(&self) -> Told {
        match self {
            Self::Down(_) | Self::Broken(_) | Self::Nonsense(_) => Told::Failure,
            Self::Late(given) if *given >= FAIR_TRIAL => Told::Failure,
            Self::Late(_) => Told::Nothing,
            Self::Status(status) if status.is_server_error() => Told::Failure,
            // It is there, and has no room or no such model.
            Self::Status(_) => Told::Nothing,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Down(_) => "not_connected",
            Self::Late(_) => "late",
            Self::Broken(_) => "broken",
            Self::Status(StatusCode::TOO_MANY_REQUESTS) => "overloaded",
            Self::Status(_) => "status",
            Self::Nonsense(_) => "nonsense",
        }
    }
}
