//! `GET /v1/openapi.json`: what is served here, for programs that write clients. The tests hold the answers to it.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::Full;

use crate::body::Media;

pub(crate) const PATH: &str = "/v1/openapi.json";
const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(DOCUMENT.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(Media::Json.name()));
    // It changes with the program alone.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
