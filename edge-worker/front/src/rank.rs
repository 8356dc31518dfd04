//! `POST /v1/rank`: a client's request in JSON.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::body::Body;
use shared_model::wire::json::{self, Decoded, FieldError, JsonLimits};
use shared_model::wire::{Answer, Tier};

use crate::body::{Inbound, Media};
use crate::problem::Problem;
use crate::router::{Arrival, Site};
use crate::{Call, Found, Given, Limits, Ranker, geo};

/// What a cache found.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The tier that answered.
pub(crate) const RUNG_TIER: HeaderName = HeaderName::from_static("rung-tier");
/// The answer's degradation level.
pub(crate) const RUNG_DEGRADATION: HeaderName = HeaderName::from_static("rung-degradation");

pub(crate) async fn answer<R, B>(
    site: &Site<R>,
    arrival: &Arrival,
    body: &mut Inbound<B>,
) -> Result<Response<Full<Bytes>>, Problem>
where
    R: Ranker,
    B: Body<Data = Bytes, Error: Display + Send> + Send + Unpin + 'static,
{
    let body = body.read(&arrival.head, Media::Json, &site.limits, &site.door).await?;
    let _place = site.door.admit()?;
    let json_limits = JsonLimits { max_depth: site.limits.max_json_depth, ..JsonLimits::default() };
    // `relevant` is of request files; a client that sends it is warned of an unknown field.
    let Decoded { mut request, warnings, relevant: _ } = json::decode(&body.bytes, &json_limits).map_err(refused)?;
    let _room = site.door.hold(&request)?;
    drop(body);
    if let Some(header) = &site.clients.geo_header {
        geo::fill(&mut request.context, &arrival.head.headers, header);
    }

    let call = Call {
        deadline: arrival.at + timeout(request.timeout_ms, &site.limits),
        request,
        arrived: arrival.at,
        request_id: arrival.id.clone(),
        escalation: None,
    };
    let deadline = call.deadline;
    let mut given = site.guarded(site.ranker.serve(call), deadline, &arrival.id).await??;
    for warning in warnings {
        if !given.answer.warnings.contains(&warning) {
            given.answer.warnings.push(warning);
        }
    }
    Ok(respond(given, arrival))
}

/// A body that is no JSON has no field at fault.
fn refused(FieldError { field, message }: FieldError) -> Problem {
    if field.is_empty() { Problem::Malformed { reason: message } } else { Problem::Field { field, message } }
}

/// What the client asks for, within what the tier grants.
fn timeout(asked_ms: Option<u32>, limits: &Limits) -> Duration {
    asked_ms.map_or(limits.default_timeout, |ms| Duration::from_millis(ms.into())).min(limits.max_timeout)
}

fn respond(given: Given, arrival: &Arrival) -> Response<Full<Bytes>> {
    let Given { mut answer, found, keep } = given;
    stamp_time(&mut answer, arrival);
    let mut response = Response::new(Full::new(Bytes::from(json::encode(&answer))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::Json.name()));
    label(&mut response, answer.tier, answer.degradation);
    if let Some(found) = found {
        tell_cache(response.headers_mut(), found, keep);
    }
    response
}

/// What the cache found (RFC 9211), and how long the client may keep what it is given: nobody else may, for an answer is
/// one user's.
fn tell_cache(headers: &mut HeaderMap, found: Found, keep: Duration) {
    let (status, age) = match found {
        Found::Fresh { age } => ("rung; hit", Some(age)),
        Found::Stale { age } => ("rung; hit; detail=stale", Some(age)),
        Found::Collapsed => ("rung; fwd=miss; collapsed", None),
        Found::Missed => ("rung; fwd=miss", None),
    };
    headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
    if let Some(age) = age {
        headers.insert(AGE, HeaderValue::from(age.as_secs()));
    }
    if keep.as_secs() > 0 {
        let control = format!("private, max-age={}", keep.as_secs());
        headers.insert(CACHE_CONTROL, HeaderValue::try_from(control).expect("words and digits are a header value"));
    }
}

/// Fills the time that only the host knows.
pub(crate) fn stamp_time(answer: &mut Answer, arrival: &Arrival) {
    answer.timing.total = u64::try_from(arrival.at.elapsed().as_micros()).unwrap_or(u64::MAX);
}

/// The headers of every answer: it is one client's and of one moment, unless a cache says otherwise.
pub(crate) fn label(response: &mut Response<Full<Bytes>>, tier: Tier, degradation: u8) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RUNG_TIER, HeaderValue::from_static(tier.as_str()));
    headers.insert(RUNG_DEGRADATION, HeaderValue::from(u16::from(degradation)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_bounded_by_the_tier_and_never_by_default_longer() {
        let limits = Limits {
            default_timeout: Duration::from_millis(100),
            max_timeout: Duration::from_millis(500),
            ..Limits::default()
        };
        assert_eq!(timeout(None, &limits).as_millis(), 100);
        assert_eq!(timeout(Some(20), &limits).as_millis(), 20);
        assert_eq!(timeout(Some(60_000), &limits).as_millis(), 500);
    }
}
