//! `POST /v1/escalate`: a request from the tier below, in CBOR, answered in CBOR.
//!
//! What is wrong with the request itself goes down as a [`Reply`], for the tier below tells its client; all else is a
//! problem document, and to the tier below an upstream that did not answer.
//!
//! `GET` is the greeting of a tier that has just connected: in TLS 1.3 a client takes its handshake for done before the
//! server has looked at its certificate, so only an answer says that it is let in.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use shared_model::limits::{MAX_CANDIDATES, MAX_ID_BYTES};
use shared_model::wire::{Escalation, RankRequest, Refusal, Reply, from_cbor, to_cbor};

use crate::body::{Inbound, Media};
use crate::problem::{Problem, over_limit};
use crate::rank::{label, stamp_time};
use crate::router::{Arrival, Site};
use crate::{Call, Escalated, Failure, Ranker};

/// The answer to a greeting.
pub(crate) fn greeting() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) async fn answer<R, B>(
    site: &Site<R>,
    arrival: &Arrival,
    body: &mut Inbound<B>,
) -> Result<Response<Full<Bytes>>, Problem>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display + Send> + Send + Unpin + 'static,
{
    let body = body.read(&arrival.head, Media::Cbor, &site.limits, &site.door).await?;
    let _place = site.door.admit()?;
    let Escalation { request, stamp, from, why, remaining_us, part } =
        from_cbor(&body.bytes).map_err(|e| Problem::Malformed { reason: e.to_string() })?;
    let _room = site.door.hold(&request)?;
    drop(body);
    if from >= site.tier {
        return Err(fault("from", "is not a tier below this one"));
    }
    check(&request)?;
    if part.is_some_and(|whole| whole.k < request.k || (whole.n as usize) < request.candidates.len()) {
        return Err(fault("part", "is of a request with fewer candidates, or a smaller k"));
    }

    let call = Call {
        request,
        arrived: arrival.at,
        deadline: arrival.at + Duration::from_micros(remaining_us).min(site.limits.max_timeout),
        request_id: arrival.id.clone(),
        escalation: Some(Escalated { stamp, from, why, part }),
    };
    let deadline = call.deadline;
    let reply = match site.guarded(site.ranker.rank(call), deadline, &arrival.id).await? {
        Ok(mut answer) => {
            stamp_time(&mut answer, arrival);
            Reply::Answer(Box::new(answer))
        }
        Err(Failure::Refused(refusal)) => Reply::Refused(refusal),
        Err(Failure::Whole(why)) => Reply::Whole(why),
        Err(Failure::OverLimit { field, limit }) => {
            Reply::Refused(Refusal { field: field.to_owned(), message: over_limit(limit) })
        }
        Err(failure @ (Failure::UnknownModel(_) | Failure::Overloaded { .. } | Failure::Unavailable { .. })) => {
            return Err(failure.into());
        }
    };
    Ok(respond(&reply))
}

/// What the tier below has checked in a client's JSON; from the network it is checked again.
fn check(request: &RankRequest) -> Result<(), Problem> {
    let RankRequest { model, k, candidates, exclude, .. } = request;
    if *k == 0 {
        return Err(fault("k", "is 0; ask for at least 1"));
    }
    for (field, length) in [("candidates", candidates.len()), ("exclude", exclude.len())] {
        if length > MAX_CANDIDATES {
            return Err(fault(field, over_limit(MAX_CANDIDATES)));
        }
    }
    check_id(model, || "model".to_owned())?;
    let mut seen = HashSet::with_capacity(candidates.len());
    for (at, candidate) in candidates.iter().enumerate() {
        let field = || format!("candidates[{at}].id");
        check_id(&candidate.id, field)?;
        if !seen.insert(candidate.id.as_str()) {
            return Err(fault(field(), "is given twice"));
        }
    }
    exclude.iter().enumerate().try_for_each(|(at, id)| check_id(id, || format!("exclude[{at}]")))
}

fn check_id(id: &str, field: impl FnOnce() -> String) -> Result<(), Problem> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(());
    }
    Err(fault(field(), format!("has {} bytes, but must have 1 to {MAX_ID_BYTES}", id.len())))
}

fn fault(field: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem::Field { field: field.into(), message: message.into() }
}

fn respond(reply: &Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(to_cbor(reply))));
    match reply {
        Reply::Answer(answer) => label(&mut response, answer.tier, answer.degradation),
        Reply::Refused(_) | Reply::Whole(_) => {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::Cbor.name()));
    response
}
