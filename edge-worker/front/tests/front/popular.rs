//! `GET /v1/popular`, for a CDN to keep.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::rig::{Reply, Rig};

async fn asked(rig: &Rig, method: Method, query: &str, known: &str) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/v1/popular{query}"))
        .header("host", "localhost")
        .header("if-none-match", known)
        .body(Full::<Bytes>::default())
        .unwrap();
    rig.http1().await.send(request).await
}

#[tokio::test]
async fn a_list_can_be_kept_and_asked_for_again() {
    let rig = Rig::start().await;
    let reply = asked(&rig, Method::GET, "?model=movies&geo=DE&k=2", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let items = json!([{"id":"item-0","popularity":1000.0},{"id":"item-1","popularity":999.0}]);
    assert_eq!(reply.json(), json!({"model":"movies","version":"7","geo":"DE","items":items}));
    assert_eq!(reply.header("cache-control"), "public, max-age=3600");
    assert_eq!(reply.header("surrogate-key"), "popular popular/movies popular/movies/DE");
    let again = asked(&rig, Method::GET, "?model=movies&geo=DE&k=2", reply.header("etag")).await;
    assert_eq!((again.status.as_u16(), again.body.len(), again.header("etag")), (304, 0, reply.header("etag")));
    let other = asked(&rig, Method::GET, "?model=movies&k=2", reply.header("etag")).await;
    assert_eq!(other.status, 200, "another list has another tag");
}

#[tokio::test]
async fn the_model_may_be_left_out_where_there_is_one_alone() {
    let reply = asked(&Rig::start().await, Method::GET, "", "").await;
    assert_eq!((&reply.json()["model"], reply.json()["items"].as_array().map(Vec::len)), (&json!("movies"), Some(10)));
}

#[tokio::test]
async fn the_head_of_a_list_has_no_body() {
    let rig = Rig::start().await;
    let whole = asked(&rig, Method::GET, "", "").await;
    for client in [rig.http1().await, rig.http2().await, rig.tls("h3").await] {
        let request = Request::builder().method(Method::HEAD).uri("/v1/popular").header("host", "localhost");
        let reply = client.send(request.body(Full::<Bytes>::default()).expect("a request")).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
        assert_eq!(reply.header("content-length"), whole.body.len().to_string());
        assert_eq!(reply.header("etag"), whole.header("etag"));
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let rig = Rig::start().await;
    asked(&rig, Method::GET, "?model=books", "").await.is_problem(404, "unknown-model");
    let problem = asked(&rig, Method::GET, "?k=0", "").await.is_problem(422, "invalid-request");
    assert_eq!(problem["field"], "k");
    assert_eq!(asked(&rig, Method::POST, "", "").await.header("allow"), "GET, HEAD");
}
