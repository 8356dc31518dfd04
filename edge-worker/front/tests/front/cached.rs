//! What a client is told of an answer that was kept.

use crate::rig::{Rig, asking};

#[tokio::test]
async fn what_the_cache_found_is_told_and_how_long_the_answer_may_be_kept() {
    let rig = Rig::start().await;
    let cases = [
        ("kept", "rung; hit", "1"),
        ("stale", "rung; hit; detail=stale", "2"),
        ("collapsed", "rung; fwd=miss; collapsed", ""),
        ("missed", "rung; fwd=miss", ""),
    ];
    for (model, status, age) in cases {
        let reply = rig.rank(&asking(model)).await;
        assert_eq!((reply.header("cache-status"), reply.header("age")), (status, age));
        assert_eq!(reply.header("cache-control"), "private, max-age=10");
        assert!(reply.json()["timing_us"]["total"].as_u64().is_some_and(|us| us > 0), "the time is this request's");
    }
}

#[tokio::test]
async fn a_tier_without_a_cache_says_nothing_of_one() {
    let reply = Rig::start().await.rank(&asking("movies")).await;
    assert_eq!((reply.header("cache-status"), reply.header("cache-control")), ("", "no-store"));
}
