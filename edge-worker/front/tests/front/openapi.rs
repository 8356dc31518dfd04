//! The OpenAPI document, and the answers held to it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use shared_model::gate::Class;
use shared_model::wire::Reason;

use crate::rig::{RANK, Reply, Rig, asking, post};

async fn got(rig: &Rig, path: &str) -> Reply {
    let request = Request::get(path).header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    rig.http1().await.send(request).await
}

/// What of a value is not as its schema says: the part of JSON Schema that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("no {name}"));
        return faults(document, target, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|one| faults(document, one, value, at).is_empty());
        return if fits { Vec::new() } else { vec![format!("{at} is none of {any:?}: {value}")] };
    }
    let mut found = Vec::new();
    let is = match schema["type"].as_str().unwrap_or_else(|| panic!("{at} has no type")) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: what is a {other}?"),
    };
    let number = value.as_f64();
    let below = schema["minimum"].as_f64().is_some_and(|least| number.is_some_and(|n| n < least));
    let above = schema["maximum"].as_f64().is_some_and(|most| number.is_some_and(|n| n > most));
    let other = schema["enum"].as_array().is_some_and(|words| !words.contains(value));
    if !is || below || above || other {
        found.push(format!("{at} is not as {schema} has it: {value}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => found.extend(faults(document, schema, member, &format!("{at}.{name}"))),
            None if schema["additionalProperties"] == false => found.push(format!("{at}.{name} is not documented")),
            None => {}
        }
    }
    for (i, element) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(document, &schema["items"], element, &format!("{at}[{i}]")));
    }
    found
}

#[track_caller]
fn holds(document: &Value, path: &str, method: &str, reply: &Reply) {
    let responses = &document["paths"][path][method]["responses"];
    let media = reply.header("content-type").to_owned();
    let schema = &responses[reply.status.as_str()]["content"][&media]["schema"];
    assert!(!schema.is_null(), "{} in {media} is not documented for {path}: {}", reply.status, reply.text());
    assert_eq!(faults(document, schema, &reply.json(), "body"), Vec::<String>::new());
}

#[tokio::test]
async fn every_answer_and_every_problem_is_as_the_document_says() {
    let rig = Rig::start().await;
    let document = got(&rig, "/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let models =
        ["movies", "explained", "kept", "refusing", "small", "busy", "broken", "panicking", "films", "not JSON"];
    for model in models {
        let body = if model == "not JSON" { "{".to_owned() } else { asking(model) };
        holds(&document, RANK, "post", &rig.rank(&body).await);
    }
    let mut packed = post(RANK, "");
    packed.headers_mut().insert("content-encoding", "br".parse().unwrap());
    holds(&document, RANK, "post", &rig.http1().await.send(packed).await);
    for query in ["", "?geo=DE&k=3", "?k=0", "?model=films"] {
        holds(&document, "/v1/popular", "get", &got(&rig, &format!("/v1/popular{query}")).await);
    }
    holds(&document, "/v1/openapi.json", "get", &got(&rig, "/v1/openapi.json").await);
}

#[tokio::test]
async fn the_requests_of_the_document_are_those_that_are_taken() {
    let rig = Rig::start().await;
    let document = got(&rig, "/v1/openapi.json").await.json();
    let schema = &document["components"]["schemas"]["Request"];
    let known: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(known.len(), 9);
    for name in known {
        // A field that is taken is not ignored: of a wrong type, it is named.
        let body = format!(r#"{{"model":"movies","candidates":[],"{name}":[[7]]}}"#);
        let reply = rig.rank(&body).await;
        let named = reply.is_problem(422, "invalid-request")["field"].as_str().unwrap_or_default().to_owned();
        assert!(named.starts_with(name.as_str()), "{name}: {}", reply.text());
    }
}

/// The next after each: one that is added does not compile before it is listed here.
fn after(reason: Reason) -> Option<Reason> {
    match reason {
        Reason::Sure => Some(Reason::Trivial),
        Reason::Trivial => Some(Reason::Asked),
        Reason::Asked => Some(Reason::Reference),
        Reason::Reference => Some(Reason::UpstreamGone),
        Reason::UpstreamGone => Some(Reason::WorkerFailed),
        Reason::WorkerFailed => Some(Reason::Merged),
        Reason::Merged => Some(Reason::Rounded),
        Reason::Rounded => None,
    }
}

fn class_after(class: Class) -> Option<Class> {
    match class {
        Class::Edge => Some(Class::Region),
        Class::Region => Some(Class::MergedRegion),
        Class::MergedRegion => Some(Class::MergedOrigin),
        Class::MergedOrigin => None,
    }
}

#[tokio::test]
async fn the_document_has_every_reason_and_class() {
    let rig = Rig::start().await;
    let document = got(&rig, "/v1/openapi.json").await.json();
    let words = |of: &str, field: &str| document["components"]["schemas"][of]["properties"][field]["enum"].clone();
    let reasons = std::iter::successors(Some(Reason::Sure), |reason| after(*reason));
    assert_eq!(words("Answer", "reason"), serde_json::to_value(reasons.collect::<Vec<_>>()).unwrap());
    let classes = std::iter::successors(Some(Class::Edge), |class| class_after(*class));
    assert_eq!(words("Agreement", "class"), serde_json::to_value(classes.collect::<Vec<_>>()).unwrap());
}

#[tokio::test]
async fn the_document_has_every_path_and_no_other() {
    let rig = Rig::start().await;
    let document = got(&rig, "/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().collect::<Vec<_>>(), ["/v1/openapi.json", "/v1/popular", "/v1/rank"]);
    for path in paths.keys() {
        assert_ne!(got(&rig, path).await.status, 404, "{path}");
    }
}
