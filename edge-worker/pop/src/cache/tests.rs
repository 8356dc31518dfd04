//! Tests on who computes, who waits, and what is given again, over a source that does as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use front::RequestId;
use shared_model::wire::{Digest, RankRequest, Ranked, Reason, Tier};
use tokio::sync::Notify;

use super::*;
use crate::sample;

pub(super) const SETTINGS: CacheSettings = CacheSettings {
    max_bytes: 1 << 20,
    ttl: Duration::from_millis(1000),
    stale: Duration::from_millis(2000),
    client_ttl: Duration::from_secs(10),
};

const STAMP: Stamp = Stamp { bundle: Digest([7; 32]), catalog: 0 };

pub(super) fn answer(version: &str) -> Answer {
    Answer {
        model: sample::MODEL.to_owned(),
        version: version.to_owned(),
        tier: Tier::Edge,
        variant: Some("w4".to_owned()),
        degradation: 0,
        reason: Reason::Sure,
        ranked: vec![Ranked { id: "m9".to_owned(), score: Some(1.0), by: Tier::Edge }],
        agreement: None,
        timing: Timing { queue: 1, score: 2, upstream: 3, total: 0 },
        warnings: Vec::new(),
        stamp: Some(STAMP),
        explanation: None,
    }
}

/// Counts its computations. Each waits until it is let go, then ends as told; the first answer's version is 1.
struct Told {
    begun: AtomicUsize,
    stamp: Mutex<u64>,
    ends: Mutex<VecDeque<End>>,
    go: Semaphore,
    began: Notify,
}

enum End {
    Degraded,
    /// With an answer of another bundle, as a tier above gives that has swapped sooner.
    Elsewhere,
    Fails,
}

impl Told {
    fn new(ends: impl IntoIterator<Item = End>) -> Self {
        let ends = Mutex::new(ends.into_iter().collect());
        Self { begun: AtomicUsize::new(0), stamp: Mutex::new(0), ends, go: Semaphore::new(0), began: Notify::new() }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    async fn has_begun(&self, computations: usize) {
        while self.begun() < computations {
            self.began.notified().await;
        }
    }
}

impl Ranker for Told {
    async fn rank(&self, _: Call) -> Result<Answer, Failure> {
        let (number, stamp) = (self.begun.fetch_add(1, Ordering::SeqCst) + 1, self.stamp(sample::MODEL));
        let answer = Answer { stamp, ..answer(&number.to_string()) };
        let end = self.ends.lock().expect("nobody panics").pop_front();
        self.began.notify_one();
        self.go.acquire().await.expect("it is open").forget();
        match end {
            None => Ok(answer),
            Some(End::Degraded) => Ok(Answer { degradation: 1, ..answer }),
            Some(End::Elsewhere) => Ok(Answer { stamp: Some(Stamp { bundle: Digest([8; 32]), ..STAMP }), ..answer }),
            Some(End::Fails) => Err(Failure::Overloaded { retry_after: Duration::from_secs(1) }),
        }
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn models(&self) -> Vec<Serving> {
        Vec::new()
    }
}

impl Source for Told {
    fn stamp(&self, model: &str) -> Option<Stamp> {
        let catalog = *self.stamp.lock().expect("nobody panics");
        (model == sample::MODEL).then_some(Stamp { catalog, ..STAMP })
    }
}

fn cached(ends: impl IntoIterator<Item = End>) -> Arc<Cached<Told>> {
    Arc::new(Cached::new(Told::new(ends), Some(SETTINGS), CacheMetrics::unregistered()))
}

fn call(request: RankRequest, timeout: Duration) -> Call {
    let arrived = Instant::now();
    Call { request, arrived, deadline: arrived + timeout, request_id: RequestId::fresh(), escalation: None }
}

/// Much longer than these tests take: nothing here ends because of it.
const LONG: Duration = Duration::from_secs(600);

async fn serve(cached: &Cached<Told>) -> Result<Given, Failure> {
    cached.serve(call(sample::request(1.0), LONG)).await
}

/// The version of an answer and how it was found.
async fn given(cached: &Cached<Told>) -> (String, Found) {
    let given = serve(cached).await.expect("an answer");
    (given.answer.version, given.found.expect("a cache"))
}

fn spawn(cached: &Arc<Cached<Told>>) -> tokio::task::JoinHandle<Result<Given, Failure>> {
    let cached = cached.clone();
    tokio::spawn(async move { serve(&cached).await })
}

/// Ages what is kept: tokio's clock cannot be paused for [`Instant`]s that others compare.
impl Cached<Told> {
    fn age(&self, by: Duration) {
        let board = &self.cache.as_ref().expect("a cache").board;
        let mut request = sample::request(1.0);
        let key = Key::of(&mut request, self.source.stamp(sample::MODEL).expect("a stamp"));
        board.keep_at(key, answer("1"), Instant::now().checked_sub(by).expect("the clock has run for a while"));
    }
}

#[tokio::test]
async fn the_same_request_is_computed_once_and_given_again() {
    let cached = cached([]);
    cached.source.go.add_permits(1);
    assert_eq!(given(&cached).await, ("1".to_owned(), Found::Missed));
    let again = serve(&cached).await.expect("an answer");
    assert!(matches!(again.found, Some(Found::Fresh { .. })), "{again:?}");
    assert_eq!((again.answer.version.as_str(), again.keep), ("1", SETTINGS.client_ttl));
    assert_eq!(again.answer.timing, Timing::default(), "what another request waited for is not this one's time");
    assert_eq!(cached.source.begun(), 1);
}

#[tokio::test]
async fn another_timeout_is_the_same_request_and_another_user_is_not() {
    let cached = cached([]);
    cached.source.go.add_permits(2);
    given(&cached).await;
    let hurried = RankRequest { timeout_ms: Some(7), ..sample::request(1.0) };
    let again = cached.serve(call(hurried, LONG)).await.expect("an answer");
    assert_eq!(again.answer.version, "1");
    let other = cached.serve(call(sample::request(0.5), LONG)).await.expect("an answer");
    assert_eq!((other.answer.version.as_str(), other.found), ("2", Some(Found::Missed)));
}

#[tokio::test]
async fn another_catalog_revision_is_computed_anew() {
    let cached = cached([]);
    cached.source.go.add_permits(2);
    given(&cached).await;
    *cached.source.stamp.lock().expect("nobody panics") += 1;
    assert_eq!(given(&cached).await, ("2".to_owned(), Found::Missed));
}

#[tokio::test]
async fn an_answer_of_another_bundle_is_neither_kept_nor_shared() {
    let cached = cached([End::Elsewhere, End::Elsewhere]);
    let (first, second) = (spawn(&cached), spawn(&cached));
    cached.source.has_begun(1).await;
    cached.source.go.add_permits(3);
    for one in [first, second] {
        let given = one.await.expect("no panic").expect("an answer");
        assert_eq!((given.found, given.keep), (Some(Found::Missed), Duration::ZERO), "each its own, and not for long");
    }
    let (version, found) = given(&cached).await;
    assert_eq!((version.as_str(), found, cached.source.begun()), ("3", Found::Missed, 3));
    assert!(matches!(given(&cached).await.1, Found::Fresh { .. }), "once the tiers have the same bundle");
}

#[tokio::test]
async fn a_stale_answer_is_not_replaced_by_one_of_the_bundle_that_was_swapped_in_behind_its_back() {
    let cached = cached([]);
    cached.age(Duration::from_millis(1500));
    assert!(matches!(given(&cached).await.1, Found::Stale { .. }));
    // The look-up was of revision 0; the computation is of revision 1.
    *cached.source.stamp.lock().expect("nobody panics") = 1;
    cached.source.has_begun(1).await;
    cached.source.go.add_permits(1);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    *cached.source.stamp.lock().expect("nobody panics") = 0;
    let found = given(&cached).await.1;
    assert!(matches!(found, Found::Stale { .. }), "{found:?}");
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_one_computation() {
    let cached = cached([]);
    let asked: Vec<_> = (0..8).map(|_| spawn(&cached)).collect();
    cached.source.has_begun(1).await;
    tokio::task::yield_now().await;
    cached.source.go.add_permits(8);
    let mut collapsed = 0;
    for one in asked {
        let given = one.await.expect("no panic").expect("an answer");
        assert_eq!(given.answer.version, "1");
        collapsed += usize::from(given.found == Some(Found::Collapsed));
    }
    assert_eq!((cached.source.begun(), collapsed), (1, 7));
}

#[tokio::test]
async fn degraded_answers_are_neither_kept_nor_shared() {
    let cached = cached([End::Degraded]);
    let (first, second) = (spawn(&cached), spawn(&cached));
    cached.source.has_begun(1).await;
    cached.source.go.add_permits(2);
    let (first, second) = (first.await.expect("no panic"), second.await.expect("no panic"));
    let (first, second) = (first.expect("an answer"), second.expect("an answer"));
    assert_eq!((first.answer.degradation, first.keep), (1, Duration::ZERO));
    assert_eq!((second.answer.degradation, second.answer.version.as_str()), (0, "2"));
}

#[tokio::test]
async fn a_failure_of_the_one_who_computes_fails_nobody_else() {
    let cached = cached([End::Fails]);
    let asked: Vec<_> = (0..3).map(|_| spawn(&cached)).collect();
    cached.source.has_begun(1).await;
    cached.source.go.add_permits(3);
    let mut outcomes = Vec::new();
    for one in asked {
        outcomes.push(one.await.expect("no panic").is_ok());
    }
    outcomes.sort_unstable();
    assert_eq!((outcomes, cached.source.begun()), (vec![false, true, true], 3));
}

#[tokio::test]
async fn a_client_that_leaves_hands_the_computation_to_one_of_those_who_wait() {
    let cached = cached([]);
    let first = spawn(&cached);
    cached.source.has_begun(1).await;
    let (second, third) = (spawn(&cached), spawn(&cached));
    tokio::task::yield_now().await;
    first.abort();
    cached.source.has_begun(2).await;
    cached.source.go.add_permits(3);
    for one in [second, third] {
        assert_eq!(one.await.expect("no panic").expect("an answer").answer.version, "2");
    }
    assert_eq!(cached.source.begun(), 2, "one took over, not both");
}

#[tokio::test]
async fn who_has_no_time_to_wait_computes_alone() {
    let cached = cached([]);
    let first = spawn(&cached);
    cached.source.has_begun(1).await;
    cached.source.go.add_permits(1);
    // The first holds its place in the queue for the permit; this one is let through by a second.
    cached.source.go.add_permits(1);
    let hurried = cached.serve(call(sample::request(1.0), Duration::ZERO)).await.expect("an answer");
    assert!(hurried.answer.degradation == 0);
    first.await.expect("no panic").expect("an answer");
}

#[tokio::test]
async fn a_stale_answer_is_given_at_once_and_computed_behind_its_back_once() {
    let cached = cached([]);
    cached.age(Duration::from_millis(1500));
    for _ in 0..3 {
        let (version, found) = given(&cached).await;
        assert!(version == "1" && matches!(found, Found::Stale { age } if age >= SETTINGS.ttl), "{found:?}");
    }
    cached.source.has_begun(1).await;
    assert_eq!(cached.source.begun(), 1);
    cached.source.go.add_permits(1);
    loop {
        let (_, found) = given(&cached).await;
        if matches!(found, Found::Fresh { .. }) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(cached.source.begun(), 1);
}

#[tokio::test]
async fn an_answer_too_old_to_be_stale_is_computed() {
    let cached = cached([]);
    cached.source.go.add_permits(1);
    cached.age(Duration::from_millis(3000));
    assert_eq!(given(&cached).await.1, Found::Missed);
}

#[tokio::test]
async fn a_failed_computation_behind_a_stale_answers_back_leaves_it_and_tries_again() {
    let cached = cached([End::Fails]);
    cached.age(Duration::from_millis(1500));
    given(&cached).await;
    cached.source.go.add_permits(1);
    while cached.source.begun() < 2 {
        assert!(matches!(given(&cached).await.1, Found::Stale { .. }));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn escalations_and_a_cache_switched_off_are_always_computed() {
    let cached = cached([]);
    cached.source.go.add_permits(4);
    given(&cached).await;
    cached.rank(call(sample::request(1.0), LONG)).await.expect("an answer");
    assert_eq!(cached.source.begun(), 2);
    let off = Cached::new(Told::new([]), None, CacheMetrics::unregistered());
    off.source.go.add_permits(2);
    for _ in 0..2 {
        let given = serve(&off).await.expect("an answer");
        assert_eq!((given.found, given.keep), (None, Duration::ZERO));
    }
    assert_eq!(off.source.begun(), 2);
}

#[tokio::test]
async fn a_model_that_is_not_served_is_named() {
    let request = RankRequest { model: "books".to_owned(), ..sample::request(1.0) };
    let failed = cached([]).serve(call(request, LONG)).await;
    assert_eq!(failed.expect_err("no such model"), Failure::UnknownModel("books".to_owned()));
}
