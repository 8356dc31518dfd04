//! From a request to an answer, whatever connection it came by.
//!
//! The order, and why: the *id* first, so that every answer carries one; then the *count*, so that refusals are seen in
//! the metrics; then the *drain*, which can cut off all that follows; the *head* is checked before the *path*, the path
//! before the *body*, each cheaper than the next; admission stands between the body and all work on it. On the way out
//! the *coding* and *CORS* see problems as they see answers: a page's browser shows it neither without leave.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use shared_model::wire::Tier;

use crate::admit::Door;
use crate::body::Inbound;
use crate::drain::{Stage, StageWatch};
use crate::guard::{Broken, guard};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::{Clients, ESCALATE_PATH, Limits, REQUEST_ID, Ranker, RequestId, coding, escalate, openapi, popular, rank};

/// Bytes of a request's path and header fields together. Connections take somewhat more, so that the client is told.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;
/// What a header field weighs beside its name and value, as HTTP/2 counts.
const FIELD_BYTES: usize = 32;

/// By which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Anybody's.
    Clients,
    /// That of the tiers below, who have shown a certificate.
    Tiers,
}

/// All that answering a request takes.
pub(crate) struct Site<R> {
    pub(crate) tier: Tier,
    pub(crate) ranker: Arc<R>,
    pub(crate) limits: Limits,
    pub(crate) clients: Clients,
    pub(crate) door: Door,
    pub(crate) metrics: Metrics,
    pub(crate) stage: StageWatch,
}

/// A request's arrival.
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) id: RequestId,
    pub(crate) head: Parts,
}

/// Answers a request. Whatever happens, there is an answer.
pub(crate) async fn answer<R, B>(site: Arc<Site<R>>, entrance: Entrance, request: Request<B>) -> Response<Full<Bytes>>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display + Send> + Send + Unpin + 'static,
{
    let (head, body) = request.into_parts();
    let arrival = Arrival { at: Instant::now(), id: RequestId::of(&head.headers), head };
    let counted = site.metrics.arrived(arrival.at);
    let mut body = Inbound::new(body);
    let mut stage = site.stage.clone();
    let outcome = tokio::select! {
        biased;
        outcome = site.route(entrance, &arrival, &mut body) => outcome,
        () = stage.reached(Stage::Cut) => Err(Problem::Draining),
    };
    body.let_go(&arrival.head);
    let response = outcome.unwrap_or_else(|problem| {
        if let Some(reason) = problem.refused_for() {
            site.metrics.refused(reason);
        }
        problem.or_retry_after(|| site.ranker.retry_after()).into_response(&arrival.id)
    });
    let mut response = coding::pack(response, &arrival.head.headers).await;
    if let Some(cors) = &site.clients.cors {
        cors.label(&arrival.head.headers, response.headers_mut());
    }
    response.headers_mut().insert(REQUEST_ID, arrival.id.header());
    let took = counted.answered(response.status());
    log(&arrival, response.status().as_u16(), took.as_micros());
    response
}

/// One line a request: for whoever looks for it by its id, and louder when the fault is ours.
fn log(arrival: &Arrival, status: u16, micros: u128) {
    let (id, method, path) = (arrival.id.as_str(), arrival.head.method.as_str(), arrival.head.uri.path());
    let path = path.get(..128).unwrap_or(path);
    let trace = arrival.id.trace();
    macro_rules! line {
        ($level:ident, $what:literal) => {
            tracing::$level!(
                request_id = id,
                trace_id = trace.id(),
                span_id = trace.span(),
                method,
                path,
                status,
                micros,
                $what
            )
        };
    }
    if status >= 500 { line!(warn, "request failed") } else { line!(debug, "request answered") }
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Rank,
    Escalate,
    Popular,
    OpenApi,
}

impl Place {
    fn at(path: &str, entrance: Entrance) -> Option<Self> {
        match (entrance, path) {
            (Entrance::Clients, "/v1/rank") => Some(Self::Rank),
            (Entrance::Clients, popular::PATH) => Some(Self::Popular),
            (Entrance::Clients, openapi::PATH) => Some(Self::OpenApi),
            (Entrance::Tiers, ESCALATE_PATH) => Some(Self::Escalate),
            _ => None,
        }
    }

    /// What a page may do there.
    fn method(self) -> &'static str {
        match self {
            Self::Rank | Self::Escalate => "POST",
            Self::Popular | Self::OpenApi => "GET",
        }
    }
}

impl<R: Ranker> Site<R> {
    async fn route<B>(
        &self,
        entrance: Entrance,
        arrival: &Arrival,
        body: &mut Inbound<B>,
    ) -> Result<Response<Full<Bytes>>, Problem>
    where
        B: Body<Data = Bytes, Error: Display + Send> + Send + Unpin + 'static,
    {
        let head = &arrival.head;
        if head_bytes(head) > MAX_HEAD_BYTES {
            return Err(Problem::HeadTooLong { limit: MAX_HEAD_BYTES });
        }
        let path = head.uri.path();
        let place = Place::at(path, entrance);
        let place = place.ok_or_else(|| Problem::NotFound { path: path.chars().take(128).collect() })?;
        if let Some(cors) = self.clients.cors.as_ref().filter(|_| place != Place::Escalate)
            && let Some(response) = cors.preflight(&head.method, &head.headers, place.method())
        {
            return Ok(response);
        }
        // `accept` is not looked at: there is one form of each answer, and RFC 9110 lets a server send it regardless.
        match place {
            Place::Rank => {
                only_post(&head.method)?;
                rank::answer(self, arrival, body).await
            }
            Place::Escalate if head.method == Method::GET => Ok(escalate::greeting()),
            Place::Escalate => {
                only(&head.method, Method::POST, "GET, POST")?;
                escalate::answer(self, arrival, body).await
            }
            Place::Popular => {
                only_get(&head.method)?;
                popular::answer(self, arrival)
            }
            Place::OpenApi => {
                only_get(&head.method)?;
                Ok(openapi::answer())
            }
        }
    }

    /// Waits for the tier behind, and outlives its bugs.
    pub(crate) async fn guarded<F: Future>(
        &self,
        work: F,
        deadline: Instant,
        id: &RequestId,
    ) -> Result<F::Output, Problem> {
        guard(work, deadline).await.map_err(|broken| {
            let what = match broken {
                Broken::Panicked => "panicked",
                Broken::Overdue => "did not end by its deadline",
            };
            tracing::error!(request_id = id.as_str(), "a bug: the tier behind the front {what}");
            Problem::Broken
        })
    }
}

fn only_post(method: &Method) -> Result<(), Problem> {
    only(method, Method::POST, "POST")
}

fn only(method: &Method, wanted: Method, allow: &'static str) -> Result<(), Problem> {
    if *method == wanted { Ok(()) } else { Err(Problem::MethodNotAllowed { allow }) }
}

/// Any path of `GET` takes `HEAD`; the connection leaves the body out.
pub(crate) fn only_get(method: &Method) -> Result<(), Problem> {
    if method == Method::GET || method == Method::HEAD {
        Ok(())
    } else {
        Err(Problem::MethodNotAllowed { allow: "GET, HEAD" })
    }
}

fn head_bytes(head: &Parts) -> usize {
    let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    head.headers.iter().fold(path, |sum, (name, value)| sum + name.as_str().len() + value.len() + FIELD_BYTES)
}
