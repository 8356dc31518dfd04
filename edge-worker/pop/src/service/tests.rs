//! Tests on what is answered when parts fail, with workers made by hand and upstreams on the loopback.

use std::path::Path;

use front::generations::{BundleSource, Read};
use front::{Escalated, RequestId};
use shared_model::catalog::Delta;
use shared_model::variant::VariantName;
use shared_model::wire::{Candidate, Refusal, Tier};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::bundle::Served;
use crate::guest::handmade::{self, failing, moody, program, refused, worker};
use crate::guest::{GuestLimits, PoolSize, Program};
use crate::metrics::{GuestMetrics, UpstreamMetrics};
use crate::sample;
use crate::upstream::above::Above;

fn served() -> Served {
    let folder = TempDir::new().expect("a folder");
    sample::bundle(folder.path());
    sample::prepared(folder.path(), Tier::Edge).0
}

/// An edge with one guest of the given program.
fn edge(text: &str, upstream: Option<Upstream>) -> Service {
    let folder = TempDir::new().expect("a folder");
    sample::bundle(folder.path());
    edge_of(folder.path(), program(text).expect("a worker"), upstream)
}

fn edge_of(folder: &Path, program: Program, upstream: Option<Upstream>) -> Service {
    tier_of(Tier::Edge, folder, program, upstream)
}

/// A region that is the last tier.
fn region_of(folder: &Path, program: Program) -> Service {
    tier_of(Tier::Region, folder, program, None)
}

fn tier_of(tier: Tier, folder: &Path, program: Program, upstream: Option<Upstream>) -> Service {
    let guests = Guests {
        tier,
        limits: sample::LIMITS,
        program,
        size: PoolSize { instances: 1, queue: 1 },
        metrics: GuestMetrics::unregistered(),
        wasm: "by hand".into(),
    };
    let source = BundleSource { folder: folder.to_owned(), poll: Duration::from_secs(3600) };
    let read = Read::new(&[source], VariantName::of(tier)).expect("a bundle");
    let models = read.load(guests, &mut front::metrics::registry(tier)).expect("a model");
    Service::new(models, upstream, ServiceMetrics::default())
}

/// A tier above whose own guest is of the given program, and the way to it.
async fn above(text: &str) -> (front::Front, Upstream) {
    above_with(edge(text, None)).await
}

async fn above_with(ranker: impl Ranker) -> (front::Front, Upstream) {
    let above = Above::start(Tier::Region, ranker, false).await;
    let upstream = Upstream::new(above.settings(false), UpstreamMetrics::unregistered());
    (above.front, upstream)
}

fn call(request: RankRequest, timeout: Duration) -> Call {
    let arrived = Instant::now();
    Call { request, arrived, deadline: arrived + timeout, request_id: RequestId::fresh(), escalation: None }
}

const TIMEOUT: Duration = Duration::from_secs(2);

async fn rank(service: &Service) -> Result<Answer, Failure> {
    service.rank(call(sample::request(1.0), TIMEOUT)).await
}

fn answer(version: &str, degradation: u8) -> Box<Answer> {
    let answer = served().without_model(&sample::request(1.0), Reason::Sure);
    Box::new(Answer { version: version.to_owned(), degradation, ..answer })
}

/// The step of a worker that answers.
fn answers(version: &str) -> Step {
    Step::Answer(answer(version, 0))
}

/// A worker whose `rank` escalates and whose `resume` is this.
fn escalates(resume: &str) -> String {
    escalates_with(None, resume)
}

/// One that knows already what it will answer if nobody is above.
fn escalates_with(ready: Option<Box<Answer>>, resume: &str) -> String {
    let (request, stamp) = (sample::request(1.0), served().stamp());
    let message = Escalation { request, stamp, from: Tier::Edge, why: Why::Unsure, remaining_us: 0, part: None };
    worker(&Step::Escalate { held: vec![1, 2, 3], message: Box::new(message), ready }, "(call $good)", resume)
}

fn by_popularity(result: Result<Answer, Failure>) {
    let answer = result.expect("an answer");
    assert_eq!((answer.degradation, answer.reason, answer.variant), (3, Reason::WorkerFailed, None));
    assert_eq!(sample::ids(&answer.ranked), ["m0", "m1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_answer_is_the_answer_and_its_time_is_told() {
    let answer = rank(&edge(&worker(&answers("8"), "(call $good)", "(call $good)"), None)).await.expect("an answer");
    assert_eq!((answer.version.as_str(), answer.degradation), ("8", 0));
    assert!(answer.timing.score > 0 && answer.timing.upstream == 0, "{:?}", answer.timing);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guests_refusal_is_the_clients_fault() {
    let service = edge(&worker(&refused(), "(call $good)", "(call $good)"), None);
    let Step::Refused(refusal) = refused() else { panic!("it refuses") };
    assert_eq!(rank(&service).await, Err(Failure::Refused(refusal)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_not_served_is_named() {
    let service = edge(&worker(&refused(), "(call $good)", "(call $good)"), None);
    let request = RankRequest { model: "books".to_owned(), ..sample::request(1.0) };
    assert_eq!(service.rank(call(request, TIMEOUT)).await, Err(Failure::UnknownModel("books".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_guest_without_a_tier_above_is_level_3() {
    for body in ["unreachable", "(loop br 0) unreachable", "(i64.const -1)", "(i64.const 0)"] {
        by_popularity(rank(&edge(&worker(&refused(), body, "unreachable"), None)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_guest_with_a_tier_above_is_answered_there() {
    let (_front, upstream) = above(&worker(&answers("above"), "(call $good)", "unreachable")).await;
    let answer =
        rank(&edge(&worker(&refused(), "unreachable", "unreachable"), Some(upstream))).await.expect("an answer");
    assert_eq!((answer.version.as_str(), answer.degradation), ("above", 0));
    assert!(answer.timing.upstream > 0, "{:?}", answer.timing);
}

/// A tier above that holds its reply until it is told to let go: a ranking that no model made.
#[derive(Clone)]
struct Holding {
    asked: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
}

impl Ranker for Holding {
    async fn rank(&self, _: Call) -> Result<Answer, Failure> {
        self.asked.add_permits(1);
        self.let_go.acquire().await.expect("it is open").forget();
        Ok(*answer("above", 3))
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn models(&self) -> Vec<Serving> {
        Vec::new()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_on_the_generation_on_which_it_began() {
    let none = || Arc::new(Semaphore::new(0));
    let holding = Holding { asked: none(), let_go: none() };
    let (_front, upstream) = above_with(holding.clone()).await;
    let folder = TempDir::new().expect("a folder");
    sample::bundle(folder.path());
    let limits = GuestLimits { memory_bytes: 64 << 20, call: Duration::from_secs(10), load: Duration::from_secs(20) };
    let program = Program::compile(&sample::worker(), limits).expect("a worker");
    let service = Arc::new(edge_of(folder.path(), program, Some(upstream)));
    let begun = {
        let service = service.clone();
        // Unsure, so that it goes up; `m9` is the best.
        let call = call(sample::request(0.1), Duration::from_secs(60));
        tokio::spawn(async move { service.rank(call).await })
    };
    holding.asked.acquire().await.expect("it is open").forget();

    let (edition, _) = sample::edition(folder.path(), Tier::Edge);
    let gone = r#"{"id":"m9","removed":true}"#;
    let delta = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), gone.as_bytes()).expect("a delta").0;
    let operations = service.operations().expect("its models can be told");
    let running = tokio::task::block_in_place(|| operations.add_delta(&delta)).expect("it is applied");
    assert_eq!((running.catalog, service.models()[0].stamp.catalog), (1, 1));

    holding.let_go.add_permits(1);
    let answer = begun.await.expect("no panic").expect("an answer");
    assert_eq!((answer.degradation, answer.stamp.map(|stamp| stamp.catalog)), (1, Some(0)), "from the guest's resume");
    assert_eq!(sample::ids(&answer.ranked), ["m9", "m8"]);
    let known = RankRequest { candidates: sample::request(1.0).candidates[..9].to_vec(), ..sample::request(1.0) };
    let answer = service.rank(call(known, Duration::from_secs(60))).await.expect("an answer");
    assert_eq!((answer.stamp.map(|stamp| stamp.catalog), sample::ids(&answer.ranked)), (Some(1), vec!["m8", "m7"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_the_tier_below_does_not_have_yet_is_looked_up_in_the_current_catalog() {
    let folder = TempDir::new().expect("a folder");
    sample::bundle(folder.path());
    let limits = GuestLimits { memory_bytes: 64 << 20, call: Duration::from_secs(10), load: Duration::from_secs(20) };
    let program = Program::compile(&sample::worker(), limits).expect("a worker");
    let service = region_of(folder.path(), program);
    let (edition, _) = sample::edition(folder.path(), Tier::Region);
    let item = r#"{"id":"new","quality":2}"#;
    let delta = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), item.as_bytes()).expect("a delta").0;
    let operations = service.operations().expect("its models can be told");
    tokio::task::block_in_place(|| operations.add_delta(&delta)).expect("it is applied");

    let mut request = sample::request(1.0);
    request.candidates[0].id = "new".to_owned();
    for (why, catalog, warnings) in [(Why::UnknownItem, 1, 0), (Why::Unsure, 0, 1)] {
        let below = Escalated { stamp: edition.stamp(), from: Tier::Edge, why, part: None };
        let call = Call { escalation: Some(below), ..call(request.clone(), Duration::from_secs(60)) };
        let answer = service.rank(call).await.expect("an answer");
        assert_eq!((answer.stamp.map(|stamp| stamp.catalog), answer.warnings.len()), (Some(catalog), warnings));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_from_above_is_the_clients_fault() {
    let (_front, upstream) = above(&worker(&refused(), "(call $good)", "unreachable")).await;
    let service = edge(&worker(&refused(), "unreachable", "unreachable"), Some(upstream));
    assert!(matches!(rank(&service).await, Err(Failure::Refused(Refusal { field, .. })) if field == "k"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_above_stands_when_the_guest_cannot_go_on() {
    let (_front, upstream) = above(&worker(&answers("above"), "(call $good)", "unreachable")).await;
    let answer = rank(&edge(&escalates("unreachable"), Some(upstream))).await.expect("an answer");
    assert_eq!(answer.version, "above");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_above_and_a_guest_that_cannot_go_on_is_level_3() {
    by_popularity(rank(&edge(&escalates("unreachable"), None)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_above_and_an_answer_that_is_ready_needs_no_second_call() {
    let service = edge(&escalates_with(Some(answer("own", 1)), "unreachable"), None);
    let answer = rank(&service).await.expect("an answer");
    assert_eq!((answer.version.as_str(), answer.degradation), ("own", 1));
    assert_eq!(service.health(), Health::Ready, "the guest was not called again");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_guest_cannot_go_on_scores_are_better_than_popularity() {
    for (degradation, expected) in [(0, "above"), (3, "own")] {
        let step = Step::Answer(answer("above", degradation));
        let (_front, upstream) = above(&worker(&step, "(call $good)", "unreachable")).await;
        let service = edge(&escalates_with(Some(answer("own", 1)), "unreachable"), Some(upstream));
        assert_eq!(rank(&service).await.expect("an answer").version, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limits_goes_up_without_the_guest() {
    let many = (0..=sample::LIMITS.max_candidates).map(|i| Candidate { id: format!("m{i}"), features: None });
    let request = RankRequest { candidates: many.collect(), ..sample::request(1.0) };
    let (_front, upstream) = above(&worker(&answers("above"), "(call $good)", "unreachable")).await;
    for upstream in [None, Some(upstream)] {
        let asks = upstream.is_some();
        let service = edge(&worker(&answers("own"), "(call $good)", "(call $good)"), upstream);
        let answer = service.rank(call(request.clone(), TIMEOUT)).await.expect("an answer");
        // The tier above has the same limits and nobody above it.
        assert_eq!((answer.degradation, answer.reason, answer.version.as_str()), (3, Reason::UpstreamGone, "7"));
        assert_eq!(sample::ids(&answer.ranked), ["m0", "m1"]);
        assert_eq!((answer.timing.upstream > 0, answer.timing.score), (asks, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_escalates_for_ever_is_level_3() {
    by_popularity(rank(&edge(&escalates("(call $good)"), None)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_holds_whatever_the_guest_does() {
    let service = edge(&worker(&refused(), "(loop br 0) unreachable", "unreachable"), None);
    let begun = Instant::now();
    by_popularity(service.rank(call(sample::request(1.0), Duration::from_millis(10))).await);
    assert!(begun.elapsed() < handmade::LIMITS.call, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_no_time_left_is_still_answered() {
    let service = edge(&worker(&refused(), "(loop br 0) unreachable", "unreachable"), None);
    by_popularity(service.rank(call(sample::request(1.0), Duration::ZERO)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_the_queue_holds_is_refused_at_the_door() {
    let service = edge(&moody(&answers("7"), "(loop br 0)"), None);
    let slow = || service.rank(call(failing().request, TIMEOUT));
    let (first, second, third) = tokio::join!(slow(), slow(), slow());
    let overloaded = |result: &Result<Answer, Failure>| matches!(result, Err(Failure::Overloaded { .. }));
    assert!([first, second, third].iter().any(overloaded));
}

#[tokio::test(flavor = "multi_thread")]
async fn is_ready_as_long_as_each_model_has_a_worker() {
    let service = edge(&moody(&answers("7"), "unreachable"), None);
    assert_eq!(service.health(), Health::Ready);
    assert_eq!(service.models()[0].model, sample::MODEL);
    by_popularity(service.rank(call(failing().request, TIMEOUT)).await);
    while service.health() != Health::Ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rank(&service).await.expect("replaced").version, "7");
}
