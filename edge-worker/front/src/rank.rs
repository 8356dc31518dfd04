//! `POST /v1/rank`: a client's request in JSON.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};
use http_body_util::Full;
use hyper::body::Body;
use shared_model::wire::json::{self, Decoded, FieldError, JsonLimits};
use shared_model::wire::{Answer, Tier};

use crate::body::{Inbound, Media};
use crate::problem::Problem;
use crate::router::{Arrival, Site};
use crate::{Call, Limits, Ranker};

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
    let Decoded { request, warnings, relevant: _ } = json::decode(&body.bytes, &json_limits).map_err(refused)?;
    drop(body);

    let call = Call {
        deadline: arrival.at + timeout(request.timeout_ms, &site.limits),
        request,
        arrived: arrival.at,
        request_id: arrival.id.clone(),
        escalation: None,
    };
    let mut answer = site.call(call).await??;
    for warning in warnings {
        if !answer.warnings.contains(&warning) {
            answer.warnings.push(warning);
        }
    }
    Ok(respond(answer, arrival))
}

/// A body that is no JSON has no field at fault.
fn refused(FieldError { field, message }: FieldError) -> Problem {
    if field.is_empty() { Problem::Malformed { reason: message } } else { Problem::Field { field, message } }
}

/// What the client asks for, within what the tier grants.
fn timeout(asked_ms: Option<u32>, limits: &Limits) -> Duration {
    asked_ms.map_or(limits.default_timeout, |ms| Duration::from_millis(ms.into())).min(limits.max_timeout)
}

fn respond(mut answer: Answer, arrival: &Arrival) -> Response<Full<Bytes>> {
    stamp_time(&mut answer, arrival);
    let mut response = Response::new(Full::new(Bytes::from(json::encode(&answer))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::Json.name()));
    label(&mut response, answer.tier, answer.degradation);
    response
}

/// Fills the time that only the host knows.
pub(crate) fn stamp_time(answer: &mut Answer, arrival: &Arrival) {
    answer.timing.total = u64::try_from(arrival.at.elapsed().as_micros()).unwrap_or(u64::MAX);
}

/// The headers of every answer. An answer to a POST is one client's, and of one moment.
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
