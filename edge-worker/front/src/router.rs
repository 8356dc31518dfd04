//! From a request to an answer, whatever connection it came by.
//!
//! The order, and why: the *id* first, so that every answer carries one; then the *count*, so that refusals are seen in
//! the metrics; then the *drain*, which can cut off all that follows; the *head* is checked before the *path*, the path
//! before the *body*, each cheaper than the next; admission stands between the body and all work on it.

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
use crate::{Call, ESCALATE_PATH, Failure, Limits, REQUEST_ID, Ranker, RequestId, escalate, rank};

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
    let mut response = outcome.unwrap_or_else(|problem| {
        if let Some(reason) = problem.refused_for() {
            site.metrics.refused(reason);
        }
        problem.into_response(&arrival.id)
    });
    response.headers_mut().insert(REQUEST_ID, arrival.id.header());
    let took = counted.answered(response.status());
    log(&arrival, response.status().as_u16(), took.as_micros());
    response
}

/// One line a request: for whoever looks for it by its id, and louder when the fault is ours.
fn log(arrival: &Arrival, status: u16, micros: u128) {
    let (id, method, path) = (arrival.id.as_str(), arrival.head.method.as_str(), arrival.head.uri.path());
    let path = path.get(..128).unwrap_or(path);
    if status >= 500 {
        tracing::warn!(request_id = id, method, path, status, micros, "request failed");
    } else {
        tracing::debug!(request_id = id, method, path, status, micros, "request answered");
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
        // `accept` is not looked at: there is one form of each answer, and RFC 9110 lets a server send it regardless.
        match (entrance, head.uri.path()) {
            (Entrance::Clients, "/v1/rank") => {
                only_post(&head.method)?;
                rank::answer(self, arrival, body).await
            }
            (Entrance::Tiers, ESCALATE_PATH) if head.method == Method::GET => Ok(escalate::greeting()),
            (Entrance::Tiers, ESCALATE_PATH) => {
                only(&head.method, Method::POST, "GET, POST")?;
                escalate::answer(self, arrival, body).await
            }
            (_, path) => Err(Problem::NotFound { path: path.chars().take(128).collect() }),
        }
    }

    /// Hands a call to the tier behind, and outlives its bugs.
    pub(crate) async fn call(&self, call: Call) -> Result<Result<shared_model::wire::Answer, Failure>, Problem> {
        let (deadline, id) = (call.deadline, call.request_id.clone());
        guard(self.ranker.rank(call), deadline).await.map_err(|broken| {
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

fn head_bytes(head: &Parts) -> usize {
    let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    head.headers.iter().fold(path, |sum, (name, value)| sum + name.as_str().len() + value.len() + FIELD_BYTES)
}
