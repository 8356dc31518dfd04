//! Which web pages may ask (the CORS protocol of the Fetch standard). Without settings none is told that it may.
//!
//! This keeps no request out: a page's browser does, by what it is told here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

/// What a page may send beside what any page may.
const ALLOWED: &str = "content-type, content-encoding, traceparent, tracestate, x-request-id";
/// What a page may read beside what any page may.
const EXPOSED: &str = "age, cache-status, etag, retry-after, rung-degradation, rung-tier, x-request-id";

/// The pages that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// From where.
    pub origins: Origins,
    /// How long a browser may remember that a page may ask.
    pub max_age: Duration,
}

/// Where pages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// From anywhere.
    Any,
    /// From these, each as a browser writes it: `https://shop.example`.
    Listed(Vec<String>),
}

impl Cors {
    /// Pages from the listed origins, `*` alone for any; none listed is no CORS.
    #[must_use]
    pub fn allowing(origins: &[String], max_age: Duration) -> Option<Self> {
        let origins = match origins {
            [] => return None,
            [any] if any == "*" => Origins::Any,
            listed => Origins::Listed(listed.to_vec()),
        };
        Some(Self { origins, max_age })
    }

    /// The answer to a preflight, if the request is one; `methods` are those of its path.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        asked: &HeaderMap,
        methods: &'static str,
    ) -> Option<Response<Full<Bytes>>> {
        let is_one = method == Method::OPTIONS
            && asked.contains_key(ORIGIN)
            && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one {
            return None;
        }
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if self.allowed(asked).is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
        }
        Some(response)
    }

    /// Says on an answer, good or bad, whether the page that asked may read it.
    pub(crate) fn label(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        if let Origins::Listed(_) = self.origins {
            // Even of an answer without permission: a cache must not give it to a page that has one, nor the other way.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.allowed(asked) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }

    /// The permission, if a page asks and has one.
    fn allowed(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        let origin = asked.get(ORIGIN)?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => {
                listed.iter().any(|one| one.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: Origins) -> Cors {
        Cors { origins, max_age: Duration::from_secs(600) }
    }

    fn shop() -> Cors {
        cors(Origins::Listed(vec!["https://shop.example".to_owned(), "https://m.shop.example".to_owned()]))
    }

    fn from(origin: &str) -> HeaderMap {
        [
            (ORIGIN, origin.parse().expect("a header value")),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ]
        .into_iter()
        .collect()
    }

    fn labelled(cors: &Cors, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        cors.label(asked, &mut headers);
        headers
    }

    #[test]
    fn a_listed_page_may_read_and_caches_are_told_that_it_depends() {
        let headers = labelled(&shop(), &from("https://m.shop.example"));
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://m.shop.example");
        assert_eq!(headers[VARY], "origin");
        assert!(headers[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().is_ok_and(|names| names.contains("x-request-id")));
    }

    #[test]
    fn any_other_page_may_not() {
        let none = HeaderMap::new();
        for asked in [from("https://shop.example.evil"), from("http://shop.example"), from("null"), none] {
            let headers = labelled(&shop(), &asked);
            assert_eq!(
                (headers.get(ACCESS_CONTROL_ALLOW_ORIGIN), &headers[VARY]),
                (None, &HeaderValue::from_static("origin"))
            );
        }
    }

    #[test]
    fn anywhere_is_said_in_one_word() {
        let headers = labelled(&cors(Origins::Any), &from("https://any.example"));
        assert_eq!((&headers[ACCESS_CONTROL_ALLOW_ORIGIN], headers.get(VARY)), (&HeaderValue::from_static("*"), None));
    }

    #[test]
    fn a_preflight_is_answered_with_what_may_be_sent() {
        let preflight = |asked| shop().preflight(&Method::OPTIONS, &asked, "POST");
        let response = preflight(from("https://shop.example")).expect("a preflight");
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(response.headers()[ACCESS_CONTROL_MAX_AGE], "600");
        let refused = preflight(from("https://evil.example")).expect("a preflight");
        assert!(refused.headers().is_empty(), "{refused:?}");
    }

    #[test]
    fn what_is_no_preflight_goes_on() {
        let asked = from("https://shop.example");
        assert!(shop().preflight(&Method::POST, &asked, "POST").is_none());
        assert!(shop().preflight(&Method::OPTIONS, &HeaderMap::new(), "POST").is_none());
    }
}
