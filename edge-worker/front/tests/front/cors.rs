//! Web pages that ask.

use std::time::Duration;

use bytes::Bytes;
use front::{Clients, Cors, Limits, Origins};
use http::Request;
use http_body_util::Full;
use shared_model::wire::Tier;

use crate::rig::{RANK, Reply, Rig, asking, post};

const SHOP: &str = "https://shop.example";

async fn rig() -> Rig {
    let cors = Cors { origins: Origins::Listed(vec![SHOP.to_owned()]), max_age: Duration::from_secs(600) };
    Rig::facing(Tier::Region, Limits::default(), Clients { cors: Some(cors), ..Clients::default() }).await
}

fn preflight(path: &str, origin: &str) -> Request<Full<Bytes>> {
    Request::options(path)
        .header("host", "localhost")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .body(Full::default())
        .unwrap()
}

async fn ranked_from(rig: &Rig, origin: &str, body: &str) -> Reply {
    let mut request = post(RANK, body);
    request.headers_mut().insert("origin", origin.parse().unwrap());
    rig.http1().await.send(request).await
}

#[tokio::test]
async fn a_page_that_may_ask_is_told_so_before_and_after() {
    let rig = rig().await;
    for (path, methods) in [(RANK, "POST"), ("/v1/popular", "GET")] {
        let reply = rig.http2().await.send(preflight(path, SHOP)).await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (204, SHOP));
        assert_eq!(reply.header("access-control-allow-methods"), methods);
        assert!(reply.header("access-control-allow-headers").contains("content-type"));
        assert_eq!((reply.header("access-control-max-age"), reply.header("vary")), ("600", "origin"));
    }
    let reply = ranked_from(&rig, SHOP, &asking("movies")).await;
    assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, SHOP));
    assert!(reply.header("access-control-expose-headers").contains("rung-tier"));
}

#[tokio::test]
async fn a_page_may_read_why_it_was_refused() {
    let reply = ranked_from(&rig().await, SHOP, "{").await;
    reply.is_problem(422, "malformed");
    assert_eq!(reply.header("access-control-allow-origin"), SHOP);
}

#[tokio::test]
async fn any_other_page_is_not_told_that_it_may() {
    let rig = rig().await;
    let asked = rig.http1().await.send(preflight(RANK, "https://evil.example")).await;
    let answered = ranked_from(&rig, "https://evil.example", &asking("movies")).await;
    for reply in [asked, answered] {
        assert_eq!((reply.header("access-control-allow-origin"), reply.header("vary")), ("", "origin"));
    }
}

#[tokio::test]
async fn tiers_are_no_pages() {
    let rig = rig().await;
    rig.http1().await.send(preflight("/v1/escalate", SHOP)).await.is_problem(404, "not-found");
}

#[tokio::test]
async fn without_settings_no_page_may_ask() {
    let rig = Rig::start().await;
    rig.http1().await.send(preflight(RANK, SHOP)).await.is_problem(405, "method-not-allowed");
    let reply = ranked_from(&rig, SHOP, &asking("movies")).await;
    assert_eq!((reply.header("access-control-allow-origin"), reply.header("vary")), ("", ""));
}
