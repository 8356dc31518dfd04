//! What a client is told when there is no answer: RFC 9457 problem documents, all of them made here.
//!
//! The `type` of a problem is a stable name; its `detail` is for people and may change.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::metrics::RefusedFor;
use crate::ranker::SOON;
use crate::{Failure, RequestId};

/// Why a request gets no answer.
#[derive(Debug)]
pub(crate) enum Problem {
    /// No such path.
    NotFound { path: String },
    /// The path is there, and takes only these methods.
    MethodNotAllowed { allow: &'static str },
    /// The head of the request is too long.
    HeadTooLong { limit: usize },
    /// The body is of another media type.
    MediaType { expected: &'static str },
    /// The body is packed in a way that is not known here.
    Encoding,
    /// The body is longer than this.
    BodyTooLong { limit: usize },
    /// The body of an operator's order is longer than this.
    OrderTooLong { limit: usize },
    /// The body took longer than this.
    BodyTooSlow { limit: Duration },
    /// The body broke off.
    BodyBroken { reason: String },
    /// The body is not a message in its media type.
    Malformed { reason: String },
    /// A field is at fault.
    Field { field: String, message: String },
    /// No such model.
    UnknownModel { model: String },
    /// A bundle or a delta is not taken.
    BundleRefused { why: String },
    /// No room at the door, or behind it; without a time, the tier behind is asked for one.
    Overloaded { why: RefusedFor, retry_after: Option<Duration> },
    /// The front stops before the answer is there.
    Draining,
    /// Not even the last degradation level could answer.
    Unavailable { what: String },
    /// A bug in the tier behind.
    Broken,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::Field { field: refusal.field, message: refusal.message },
            Failure::Whole(_) => Self::Unavailable { what: "an answer on some of the candidates".to_owned() },
            Failure::UnknownModel(model) => Self::UnknownModel { model },
            Failure::OverLimit { field, limit } => Self::Field { field: field.to_owned(), message: over_limit(limit) },
            Failure::Overloaded { retry_after } => {
                Self::Overloaded { why: RefusedFor::Tier, retry_after: Some(retry_after) }
            }
            Failure::Unavailable { what } => Self::Unavailable { what },
        }
    }
}

impl From<RefusedFor> for Problem {
    fn from(why: RefusedFor) -> Self {
        Self::Overloaded { why, retry_after: None }
    }
}

/// What is said of a field that no tier on the way up takes at this size.
pub(crate) fn over_limit(limit: usize) -> String {
    format!("is more than the {limit} that this ladder takes; send fewer")
}

/// The members of the document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// The status, the stable name and the title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NotFound { .. } => (S::NOT_FOUND, "urn:rung:problem:not-found", "No such path"),
            Self::MethodNotAllowed { .. } => {
                (S::METHOD_NOT_ALLOWED, "urn:rung:problem:method-not-allowed", "Method not allowed here")
            }
            Self::HeadTooLong { .. } => {
                (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "urn:rung:problem:head-too-long", "Head too long")
            }
            Self::MediaType { .. } => {
                (S::UNSUPPORTED_MEDIA_TYPE, "urn:rung:problem:unsupported-media-type", "Unsupported media type")
            }
            Self::Encoding => {
                (S::UNSUPPORTED_MEDIA_TYPE, "urn:rung:problem:unsupported-encoding", "Unsupported content encoding")
            }
            Self::BodyTooLong { .. } | Self::OrderTooLong { .. } => {
                (S::PAYLOAD_TOO_LARGE, "urn:rung:problem:body-too-long", "Body too long")
            }
            Self::BodyTooSlow { .. } => (S::REQUEST_TIMEOUT, "urn:rung:problem:body-too-slow", "Body too slow"),
            Self::BodyBroken { .. } => (S::BAD_REQUEST, "urn:rung:problem:body-broken", "Body broke off"),
            Self::Malformed { .. } => (S::UNPROCESSABLE_ENTITY, "urn:rung:problem:malformed", "Malformed body"),
            Self::Field { .. } => (S::UNPROCESSABLE_ENTITY, "urn:rung:problem:invalid-request", "Invalid request"),
            Self::UnknownModel { .. } => (S::NOT_FOUND, "urn:rung:problem:unknown-model", "Unknown model"),
            Self::BundleRefused { .. } => (S::CONFLICT, "urn:rung:problem:bundle-refused", "Bundle refused"),
            Self::Overloaded { .. } => (S::TOO_MANY_REQUESTS, "urn:rung:problem:overloaded", "Too many requests"),
            Self::Draining => (S::SERVICE_UNAVAILABLE, "urn:rung:problem:draining", "Shutting down"),
            Self::Unavailable { .. } => (S::SERVICE_UNAVAILABLE, "urn:rung:problem:unavailable", "Unavailable"),
            Self::Broken => (S::SERVICE_UNAVAILABLE, "urn:rung:problem:broken", "Failed"),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::NotFound { path } => format!("there is nothing at `{path}`"),
            Self::MethodNotAllowed { allow } => format!("use {allow}"),
            Self::HeadTooLong { limit } => format!("path and header fields may have {limit} bytes together"),
            Self::MediaType { expected } => format!("send `content-type: {expected}`"),
            Self::Encoding => "send the body with `content-encoding: gzip`, or without one".to_owned(),
            Self::BodyTooLong { limit } => format!("a body may have {limit} bytes; send fewer candidates"),
            Self::OrderTooLong { limit } => {
                format!("the body of this order may have {limit} bytes; of a longer delta make several")
            }
            Self::BodyTooSlow { limit } => format!("the body was not there within {limit:?}"),
            Self::BodyBroken { reason } => format!("the body could not be read to its end: {reason}"),
            Self::Malformed { reason } => reason.clone(),
            Self::Field { field, message } if field.is_empty() => message.clone(),
            Self::Field { field, message } => format!("`{field}`: {message}"),
            Self::UnknownModel { model } => format!("no model `{model}` is served here"),
            Self::BundleRefused { why } => why.clone(),
            Self::Overloaded { .. } => "all places are taken; try again after the time in `retry-after`".to_owned(),
            Self::Draining => "this instance stops and could not finish the request; send it again".to_owned(),
            Self::Unavailable { what } => what.clone(),
            Self::Broken => "the request could not be finished; the log has more under its id".to_owned(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => (!field.is_empty()).then_some(field),
            Self::UnknownModel { .. } => Some("model"),
            Self::NotFound { .. }
            | Self::MethodNotAllowed { .. }
            | Self::HeadTooLong { .. }
            | Self::MediaType { .. }
            | Self::Encoding
            | Self::BodyTooLong { .. }
            | Self::OrderTooLong { .. }
            | Self::BodyTooSlow { .. }
            | Self::BodyBroken { .. }
            | Self::Malformed { .. }
            | Self::BundleRefused { .. }
            | Self::Overloaded { .. }
            | Self::Draining
            | Self::Unavailable { .. }
            | Self::Broken => None,
        }
    }

    /// What was refused at the door, if this was, for the metrics.
    pub(crate) fn refused_for(&self) -> Option<RefusedFor> {
        if let Self::Overloaded { why, .. } = self { Some(*why) } else { None }
    }

    /// A refusal at the door, with the time that the tier behind gives.
    pub(crate) fn or_retry_after(self, tier: impl FnOnce() -> Duration) -> Self {
        match self {
            Self::Overloaded { why, retry_after: None } => Self::Overloaded { why, retry_after: Some(tier()) },
            other => other,
        }
    }

    /// The answer that says so.
    pub(crate) fn into_response(self, id: &RequestId) -> Response<Full<Bytes>> {
        let (status, name, title) = self.kind();
        let detail = self.detail();
        let document = Document {
            r#type: name,
            title,
            status: status.as_u16(),
            detail: &detail,
            instance: id.as_str(),
            field: self.field(),
        };
        let body = serde_json::to_vec(&document).expect("a document of texts is JSON");
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::MediaType { expected } => {
                headers.insert("accept-post", HeaderValue::from_static(expected));
            }
            Self::Encoding => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
            }
            Self::Overloaded { retry_after, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after.unwrap_or(SOON))));
            }
            Self::Draining | Self::Unavailable { .. } | Self::Broken => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(SOON)));
            }
            Self::NotFound { .. }
            | Self::HeadTooLong { .. }
            | Self::BodyTooLong { .. }
            | Self::OrderTooLong { .. }
            | Self::BodyTooSlow { .. }
            | Self::BodyBroken { .. }
            | Self::Malformed { .. }
            | Self::Field { .. }
            | Self::UnknownModel { .. }
            | Self::BundleRefused { .. } => {}
        }
        response
    }
}

/// `Retry-After` knows only whole seconds; 0 would be an invitation to come back at once.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0 || duration.is_zero())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use shared_model::wire::Refusal;

    use super::*;

    async fn told(problem: Problem) -> (Response<()>, Value) {
        let (parts, body) = problem.into_response(&RequestId::fresh()).into_parts();
        let body = body.collect().await.expect("a body in memory").to_bytes();
        (Response::from_parts(parts, ()), serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn a_refusal_names_its_field() {
        let refusal = Refusal { field: "user.age".to_owned(), message: "is not a number".to_owned() };
        let (head, body) = told(Failure::Refused(refusal).into()).await;
        assert_eq!(head.status(), 422);
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert_eq!(body["type"], "urn:rung:problem:invalid-request");
        assert_eq!((&body["status"], &body["field"]), (&json!(422), &json!("user.age")));
        assert_eq!(body["detail"], "`user.age`: is not a number");
    }

    #[tokio::test]
    async fn a_request_over_the_limit_of_the_last_tier_is_told_the_limit() {
        let (head, body) = told(Failure::OverLimit { field: "k", limit: 100 }.into()).await;
        assert_eq!((head.status(), &body["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("k")));
        assert!(body["detail"].as_str().is_some_and(|d| d.contains("100")), "{body}");
    }

    #[tokio::test]
    async fn an_unknown_model_is_named() {
        let (head, body) = told(Failure::UnknownModel("films".to_owned()).into()).await;
        assert_eq!((head.status(), &body["field"]), (StatusCode::NOT_FOUND, &json!("model")));
        assert_eq!(body["detail"], "no model `films` is served here");
    }

    #[tokio::test]
    async fn retry_after_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let failure = Failure::Overloaded { retry_after: Duration::from_millis(millis) };
            let (head, _) = told(failure.into()).await;
            assert_eq!(
                (head.status(), &head.headers()["retry-after"]),
                (StatusCode::TOO_MANY_REQUESTS, &HeaderValue::from_static(seconds))
            );
        }
    }

    #[tokio::test]
    async fn what_is_unavailable_is_told() {
        let (head, body) = told(Failure::Unavailable { what: "no bundle is loaded".to_owned() }.into()).await;
        assert_eq!((head.status(), &body["detail"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("no bundle is loaded")));
    }
}
