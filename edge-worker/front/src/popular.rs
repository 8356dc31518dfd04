//! `GET /v1/popular`: what most like, for a CDN to keep.
//!
//! The list depends on the address, the bundle and the catalog's revision alone, never on who asks: that is what its
//! validator says, and what a CDN can be told to drop by, with the names in `surrogate-key`.

use bytes::Bytes;
use form_urlencoded::parse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;
use shared_model::limits::{MAX_GEO_BYTES, MAX_ID_BYTES};

use crate::body::Media;
use crate::problem::Problem;
use crate::router::{Arrival, Site};
use crate::{Popular, Ranker};

pub(crate) const PATH: &str = "/v1/popular";
/// What a list is dropped by.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// An hour, as DESIGN §11 has it.
const KEEP: &str = "public, max-age=3600";
const DEFAULT_K: usize = 10;
const MAX_K: usize = 1000;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    model: Option<String>,
    geo: Option<String>,
    k: usize,
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    version: &'a str,
    geo: Option<&'a str>,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    popularity: f32,
}

pub(crate) fn answer<R: Ranker>(site: &Site<R>, arrival: &Arrival) -> Result<Response<Full<Bytes>>, Problem> {
    let _place = site.door.admit()?;
    let query = Query::read(arrival.head.uri.query().unwrap_or_default())?;
    if query.model.is_none() && site.ranker.models().len() > 1 {
        return Err(fault("model", "is missing: several models are served here"));
    }
    let list = site.ranker.popular(query.model.as_deref(), query.geo.as_deref(), query.k)?;
    Ok(respond(&list, query.k, &arrival.head.headers))
}

impl Query {
    fn read(text: &str) -> Result<Self, Problem> {
        let mut query = Self { model: None, geo: None, k: DEFAULT_K };
        for (name, value) in parse(text.as_bytes()) {
            match &*name {
                "model" => query.model = Some(bounded("model", &value, MAX_ID_BYTES)?),
                "geo" => query.geo = Some(bounded("geo", &value, MAX_GEO_BYTES)?),
                "k" => match value.parse() {
                    Ok(k) if (1..=MAX_K).contains(&k) => query.k = k,
                    Ok(_) | Err(_) => return Err(fault("k", format!("must be a whole number of 1 to {MAX_K}"))),
                },
                // Whatever else a CDN or a campaign adds to an address.
                _ => {}
            }
        }
        Ok(query)
    }
}

fn bounded(field: &str, value: &str, max: usize) -> Result<String, Problem> {
    if (1..=max).contains(&value.len()) {
        return Ok(value.to_owned());
    }
    Err(fault(field, format!("has {} bytes, but must have 1 to {max}", value.len())))
}

fn fault(field: &str, message: impl Into<String>) -> Problem {
    Problem::Field { field: field.to_owned(), message: message.into() }
}

fn respond(list: &Popular, k: usize, asked: &HeaderMap) -> Response<Full<Bytes>> {
    let tag = tag(list, k);
    let known = asked.get_all(IF_NONE_MATCH).iter().any(|given| matches(given.as_bytes(), tag.as_bytes()));
    let mut response = if known {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let items = list.items.iter().map(|(id, popularity)| Item { id, popularity: *popularity }).collect();
        let document = Document { model: &list.model, version: &list.version, geo: list.geo.as_deref(), items };
        let body = serde_json::to_vec(&document).expect("texts and finite numbers are JSON");
        let mut response = Response::new(Full::new(Bytes::from(body)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Media::Json.name()));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEEP));
    headers.insert(ETAG, HeaderValue::try_from(tag).expect("a tag is visible ASCII"));
    headers.insert(SURROGATE_KEY, HeaderValue::try_from(surrogates(list)).expect("names are visible ASCII"));
    response
}

/// Weak, for the same list may be sent packed or not.
fn tag(list: &Popular, k: usize) -> String {
    let bundle = list.stamp.bundle.to_string();
    let geo = list.geo.as_deref().map_or(String::new(), name);
    format!("W/\"{}-{}-{k}-{geo}\"", &bundle[..16], list.stamp.catalog)
}

/// Whether one of the tags in `if-none-match` is this one; strong or weak is the same here (RFC 9110 §13.1.2).
fn matches(given: &[u8], tag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.trim_ascii().strip_prefix(b"W/").unwrap_or(tag.trim_ascii()).to_vec();
    given.trim_ascii() == b"*" || given.split(|b| *b == b',').any(|one| opaque(one) == opaque(tag))
}

/// All lists, those of the model, and this one.
fn surrogates(list: &Popular) -> String {
    let model = name(&list.model);
    let geo = list.geo.as_deref().map_or("*".to_owned(), name);
    format!("popular popular/{model} popular/{model}/{geo}")
}

/// A text as one word of visible ASCII.
fn name(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use shared_model::wire::{Digest, Stamp};

    use super::*;

    fn list(geo: Option<&str>) -> Popular {
        Popular {
            model: "my movies".to_owned(),
            version: "7".to_owned(),
            geo: geo.map(str::to_owned),
            items: vec![("m1".to_owned(), 2.5)],
            stamp: Stamp { bundle: Digest([0xab; 32]), catalog: 3 },
        }
    }

    #[test]
    fn reads_what_is_asked_for_and_leaves_the_rest() {
        let query = Query::read("geo=DE&utm=x&model=my%20movies&k=7").expect("a query");
        assert_eq!(query, Query { model: Some("my movies".to_owned()), geo: Some("DE".to_owned()), k: 7 });
        assert_eq!(Query::read("").expect("a query"), Query { model: None, geo: None, k: 10 });
    }

    #[test]
    fn names_the_parameter_at_fault() {
        for (text, at_fault) in [("k=0", "k"), ("k=1001", "k"), ("k=ten", "k"), ("geo=", "geo"), ("model=", "model")] {
            let problem = Query::read(text).expect_err("at fault");
            assert!(matches!(&problem, Problem::Field { field, .. } if field == at_fault), "{text}: {problem:?}");
        }
        assert!(Query::read(&format!("geo={}", "x".repeat(MAX_GEO_BYTES + 1))).is_err());
    }

    #[test]
    fn a_list_is_labelled_for_a_cdn() {
        let response = respond(&list(Some("DE")), 5, &HeaderMap::new());
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("cache-control"), "public, max-age=3600");
        assert_eq!(header("surrogate-key"), "popular popular/my+movies popular/my+movies/DE");
        assert_eq!(header("etag"), "W/\"abababababababab-3-5-DE\"");
    }

    #[test]
    fn a_list_that_is_known_is_not_sent_again() {
        let asked = |tags: &str| [(IF_NONE_MATCH, tags.parse().expect("a header value"))].into_iter().collect();
        for tags in ["*", "W/\"abababababababab-3-5-DE\"", "\"other\", \"abababababababab-3-5-DE\""] {
            let response = respond(&list(Some("DE")), 5, &asked(tags));
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert!(response.headers().contains_key(ETAG) && response.headers().contains_key(CACHE_CONTROL));
        }
        for (tags, geo) in [("\"other\"", Some("DE")), ("W/\"abababababababab-3-5-DE\"", None)] {
            assert_eq!(respond(&list(geo), 5, &asked(tags)).status(), StatusCode::OK, "{tags}");
        }
    }
}
