//! `POST /v1/escalate`: a request from the tier below, in CBOR, answered in CBOR.
//!
//! What is wrong with the request itself goes down as a [`Reply`], for the tier below tells its client; all else is a
//! problem document, and to the tier below an upstream that did not answer.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper::body::Body;
use shared_model::limits::MAX_CANDIDATES;
use shared_model::wire::{Escalation, RankRequest, Refusal, Reply, from_cbor, to_cbor};

use crate::body::{Inbound, Media};
use crate::problem::{Problem, over_limit};
use crate::rank::{label, stamp_time};
use crate::router::{Arrival, Site};
use crate::{Call, Escalated, Failure, Ranker};

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
    let Escalation { request, stamp, from, why, remaining_us } =
        from_cbor(&body.bytes).map_err(|e| Problem::Malformed { reason: e.to_string() })?;
    drop(body);
    check(&request)?;

    let call = Call {
        request,
        arrived: arrival.at,
        deadline: arrival.at + Duration::from_micros(remaining_us).min(site.limits.max_timeout),
        request_id: arrival.id.clone(),
        escalation: Some(Escalated { stamp, from, why }),
    };
    let reply = match site.call(call).await? {
        Ok(mut answer) => {
            stamp_time(&mut answer, arrival);
            Reply::Answer(Box::new(answer))
        }
        Err(Failure::Refused(refusal)) => Reply::Refused(refusal),
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
    let fault =
        |field: &str, message: &str| Err(Problem::Field { field: field.to_owned(), message: message.to_owned() });
    if request.k == 0 {
        return fault("k", "is 0; ask for at least 1");
    }
    if request.candidates.len() > MAX_CANDIDATES {
        return fault("candidates", &over_limit(MAX_CANDIDATES));
    }
    Ok(())
}

fn respond(reply: &Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(to_cbor(reply))));
    match reply {
        Reply::Answer(answer) => label(&mut response, answer.tier, answer.degradation),
        Reply::Refused(_) => {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::Cbor.name()));
    response
}
