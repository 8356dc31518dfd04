use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

use tempfile::TempDir;

use front::generations::{BundleSource, Read, Reload};
use front::metrics::Registry;
use front::{Escalated, RequestId};
use prometheus_client::encoding::text::encode;
use shared_model::catalog::Delta;
use shared_model::tensor::Tensor;
use shared_model::wire::json::{self, JsonLimits};
use shared_model::wire::{Stamp, Why};

use super::*;
use crate::batch;
use crate::device::{Device, Kind, Probed};
use crate::engine::{RunsOn, Scorer, Scores};
use crate::fixture::{variant, write_bundle};
use crate::metrics::Metrics;

const LIMITS: TierLimits = TierLimits { max_candidates: 6, max_k: 5, item_table_bytes: 1 << 20 };

const BATCHES: batch::Limits =
    batch::Limits { max_delay: Duration::ZERO, max_candidates: 100, max_requests: 100, max_waiting_candidates: 12 };

fn service(folder: &Path) -> Service {
    batching(folder, BATCHES).0
}

fn batching(folder: &Path, limits: batch::Limits) -> (Service, Registry) {
    on(folder, limits, Device::cpu())
}

fn on(folder: &Path, limits: batch::Limits, device: Device) -> (Service, Registry) {
    let mut registry = front::metrics::registry(Tier::Origin);
    let metrics = Metrics::register(&mut registry, &Device::cpu());
    let source = BundleSource { folder: folder.to_owned(), poll: Duration::from_secs(3600) };
    let bundles = Read::new(&[source], VARIANT).unwrap();
    let batcher = Arc::new(Batcher::start(limits, metrics.clone()).unwrap());
    let executors =
        Executors { probed: Probed { device, missing: None, required: true }, metrics, batcher: batcher.clone() };
    let models = bundles.load(executors, &mut registry).unwrap();
    (Service::new(models, batcher, LIMITS, None), registry)
}

fn films() -> Service {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |_| {});
    service(folder.path())
}

/// Its weights make every score NaN.
fn unsound() -> Service {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |v| {
        v.tensors.insert("table".to_owned(), Tensor::F32 { shape: vec![3, 1], data: vec![f32::NAN; 3] });
    });
    service(folder.path())
}

/// Its table has no row for `War`.
fn short() -> Service {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |v| *v = variant(2));
    service(folder.path())
}

fn call(request: &str) -> Call {
    let now = Instant::now();
    Call {
        request: json::decode(request.as_bytes(), &JsonLimits::default()).unwrap().request,
        arrived: now,
        deadline: now + Duration::from_secs(30),
        request_id: RequestId::fresh(),
        escalation: None,
    }
}

fn escalated(call: Call, service: &Service) -> Call {
    let stamp = Stamp { catalog: 0, ..service.models()[0].stamp };
    Call { escalation: Some(Escalated { stamp, from: Tier::Region, why: Why::Unsure, part: None }), ..call }
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.ranked.iter().map(|r| r.id.as_str()).collect()
}

/// A request for the best `k` of `n` items that the catalog does not have.
fn of(k: u32, n: usize) -> String {
    let ids: Vec<String> = (0..n).map(|i| format!("new{i}")).collect();
    format!(r#"{{"model":"films","k":{k},"user":{{"weight":2.0}},"candidates":{ids:?}}}"#)
}

const ASK: &str = r#"{"model":"films","k":2,"user":{"weight":2.0},"candidates":["a","b","d"]}"#;

#[tokio::test]
async fn answers_with_the_reference() {
    let answer = films().rank(call(ASK)).await.unwrap();
    // 2·1 + 0.25, 2·−1 + 0.75, 2·3 + 0.25
    assert_eq!(ids(&answer), ["d", "a"]);
    let shown = |score: f32| 1.0 / (1.0 + (-score).exp());
    for (entry, expected) in answer.ranked.iter().zip([shown(6.25), shown(2.25)]) {
        assert!((entry.score.unwrap() - expected).abs() < 1e-6 && entry.by == Tier::Origin);
    }
    assert_eq!((answer.tier, answer.reason, answer.degradation), (Tier::Origin, Reason::Reference, 0));
    assert_eq!(
        (answer.model.as_str(), answer.version.as_str(), answer.variant.as_deref()),
        ("films", "7", Some("f32"))
    );
    assert!(answer.agreement.is_none() && answer.warnings.is_empty() && answer.stamp.is_some());
}

#[tokio::test]
async fn excluded_candidates_are_not_ranked() {
    let ask = r#"{"model":"films","user":{"weight":2.0},"candidates":["a","b","c","d"],"exclude":["d"]}"#;
    assert_eq!(ids(&films().rank(call(ask)).await.unwrap()), ["c", "a", "b"]);
}

#[tokio::test]
async fn no_candidates_are_an_empty_answer() {
    let ask = r#"{"model":"films","user":{"weight":2.0},"candidates":["a"],"exclude":["a"]}"#;
    let answer = films().rank(call(ask)).await.unwrap();
    assert!(answer.ranked.is_empty() && answer.degradation == 0);
}

#[tokio::test]
async fn an_unknown_item_is_scored_with_defaults_and_named() {
    let ask = r#"{"model":"films","user":{"weight":2.0},"candidates":["new","b",{"id":"x","value":9,"genre":"War"}]}"#;
    let answer = films().rank(call(ask)).await.unwrap();
    assert_eq!(ids(&answer), ["x", "new", "b"]);
    assert_eq!(answer.warnings, ["`new` is not in the catalog: scored with defaults"]);
}

#[tokio::test]
async fn refuses_what_is_over_the_limits() {
    let service = films();
    let over = |field, limit| Failure::OverLimit { field, limit };
    assert_eq!(service.rank(call(&of(6, 6))).await.unwrap_err(), over("k", 5));
    assert_eq!(service.rank(call(&of(2, 7))).await.unwrap_err(), over("candidates", 6));
    let unreadable = of(2, 7).replace("weight", "wait");
    assert_eq!(service.rank(call(&unreadable)).await.unwrap_err(), over("candidates", 6), "nothing is encoded");
}

#[tokio::test]
async fn a_k_above_the_candidates_asks_for_all_of_them() {
    let service = films();
    for n in [0, 5] {
        assert_eq!(service.rank(call(&of(500, n))).await.unwrap().ranked.len(), n);
    }
}

#[tokio::test]
async fn an_id_without_a_row_is_the_requests_fault() {
    let service = short();
    for ask in [call(ASK), call(ASK), call(ASK), escalated(call(ASK), &service)] {
        let Failure::Refused(refusal) = service.rank(ask).await.unwrap_err() else { panic!("not refused") };
        assert_eq!((refusal.field.as_str(), refusal.message.as_str()), ("", "index 2 into table `table` of 2 rows"));
    }
    assert_eq!(service.health(), Health::Ready);
}

#[tokio::test]
async fn requests_at_once_share_a_batch_and_are_answered_as_alone() {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |_| {});
    // Only a full batch goes at once.
    let limits = batch::Limits { max_delay: Duration::from_secs(5), max_requests: 3, ..BATCHES };
    let (together, registry) = batching(folder.path(), limits);
    let asked = [ASK.to_owned(), ASK.replace("2.0", "-1.0"), ASK.replace(r#""b","#, "")];
    let [a, b, c] = [0, 1, 2].map(|i| together.rank(call(&asked[i])));
    let (a, b, c) = tokio::join!(a, b, c);
    let alone = service(folder.path());
    for (got, ask) in [a, b, c].into_iter().zip(&asked) {
        let (got, want) = (got.unwrap(), alone.rank(call(ask)).await.unwrap());
        assert_eq!(ids(&got), ids(&want));
        for (got, want) in got.ranked.iter().zip(&want.ranked) {
            assert!((got.score.unwrap() - want.score.unwrap()).abs() <= 1e-6, "{got:?}, alone {want:?}");
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("origin_batch_requests_sum 3.0\norigin_batch_requests_count 1\n"), "{text}");
}

#[tokio::test]
async fn a_request_that_does_not_fit_fails_no_other() {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |v| *v = variant(2));
    let service = batching(folder.path(), batch::Limits { max_delay: Duration::from_millis(50), ..BATCHES }).0;
    let fits = call(&ASK.replace(r#""b","#, ""));
    let (unfit, fit) = tokio::join!(service.rank(call(ASK)), service.rank(fits));
    assert!(matches!(unfit, Err(Failure::Refused(_))));
    assert_eq!(ids(&fit.unwrap()), ["d", "a"]);
}

#[tokio::test]
async fn without_room_one_request_is_refused_at_the_door_whoever_asks() {
    let service = films();
    let _taken = service.batcher.admit(10).unwrap();
    let full = Failure::Overloaded { retry_after: service.retry_after() };
    for ask in [call(ASK), escalated(call(ASK), &service)] {
        assert_eq!(service.rank(ask).await.unwrap_err(), full);
    }
    let unreadable = call(&ASK.replace("weight", "wait"));
    assert_eq!(service.rank(unreadable).await.unwrap_err(), full, "nothing is encoded");
    let two = ASK.replace(r#""b","#, "");
    assert_eq!(ids(&service.rank(call(&two)).await.unwrap()), ["d", "a"], "there is room for two candidates");
}

#[tokio::test]
async fn refuses_another_model_and_a_field_that_the_schema_wants() {
    let service = films();
    let failure = service.rank(call(&ASK.replace("films", "books"))).await.unwrap_err();
    assert_eq!(failure, Failure::UnknownModel("books".to_owned()));
    let failure = service.rank(call(&ASK.replace("weight", "wait"))).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(r) if r.field == "user.weight"));
}

#[tokio::test]
async fn scores_that_are_not_numbers_are_never_shown() {
    let service = unsound();
    let answer = service.rank(call(ASK)).await.unwrap();
    assert_eq!(ids(&answer), ["b", "d"], "by popularity");
    assert_eq!((answer.degradation, answer.reason, answer.variant.as_deref()), (3, Reason::WorkerFailed, None));
    assert!(answer.ranked.iter().all(|r| r.score.is_none()));
}

#[tokio::test]
async fn without_scores_popularity_is_that_where_the_user_is_and_of_unknown_items_the_list_is_answered() {
    let service = unsound();
    let here = ASK.replace(r#""k""#, r#""context":{"geo":"de"},"k""#);
    let answer = service.rank(call(&here)).await.unwrap();
    assert_eq!((ids(&answer), answer.degradation), (vec!["a", "b"], 3));
    let unknown = ASK.replace(r#"["a","b","d"]"#, r#"["x","y","z"]"#);
    let answer = service.rank(call(&unknown)).await.unwrap();
    assert_eq!((ids(&answer), answer.degradation), (vec!["z", "x"], 4));
}

#[tokio::test]
async fn a_tier_below_is_told_that_there_are_no_scores() {
    let service = unsound();
    let failure = service.rank(escalated(call(ASK), &service)).await.unwrap_err();
    let what = "the origin has no scores: the model gave a score that is not a number".to_owned();
    assert_eq!(failure, Failure::Unavailable { what });
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_answered_by_popularity() {
    let service = films();
    let late = Call { deadline: Instant::now(), ..call(ASK) };
    let answer = service.rank(late).await.unwrap();
    assert_eq!((ids(&answer), answer.degradation), (vec!["b", "d"], 3));
}

/// A device at work until it is told to stop.
#[derive(Debug)]
struct Busy {
    begun: Arc<AtomicBool>,
    stop: Mutex<mpsc::Receiver<()>>,
}

impl Scorer for Busy {
    fn score(&self, batch: Batch) -> Result<Scores, RunError> {
        if batch.requests > 1 {
            self.begun.store(true, Ordering::Relaxed);
            let _ = self.stop.lock().unwrap().recv();
        }
        Ok(vec![0.0; batch.owner.len()].into())
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new(std::iter::once(Batch { requests: 1, owner: vec![0], inputs: Vec::new() }))
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: Kind::Cpu, precision: Precision::F32, note: None }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_has_its_answer_without_scores_before_the_deadline() {
    let service = films();
    let (stop, told) = mpsc::channel();
    let begun = Arc::new(AtomicBool::new(false));
    let device = Busy { begun: begun.clone(), stop: Mutex::new(told) };
    let lane = service.batcher.open(|| Ok::<_, RunError>(device)).unwrap();
    let place = service.batcher.admit(1).unwrap();
    let rows = Batch { requests: 2, owner: vec![0], inputs: Vec::new() };
    tokio::spawn(async move { lane.score(place, rows, Instant::now() + Duration::from_secs(900)).await });
    while !begun.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    let call = call(ASK);
    let deadline = call.deadline;
    let answer = service.rank(call).await.unwrap();
    let left = deadline.saturating_duration_since(tokio::time::Instant::now().into_std());
    assert_eq!((ids(&answer), answer.degradation), (vec!["b", "d"], 3));
    assert!(left > Duration::from_secs(4), "{left:?} of 30 s");
    stop.send(()).unwrap();
}

#[tokio::test]
async fn a_gpu_in_a_lower_precision_is_named_and_is_no_reference() {
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let folder = TempDir::new().unwrap();
        write_bundle(folder.path(), |_| {});
        let service = on(folder.path(), BATCHES, Device::as_if_gpu(precision)).0;
        let answer = service.rank(call(ASK)).await.unwrap();
        let reason = if precision == Precision::F32 { Reason::Reference } else { Reason::Rounded };
        assert_eq!((answer.variant.as_deref(), answer.reason), (Some(precision.as_str()), reason));
        assert_eq!((answer.degradation, answer.agreement), (0, None));
        let serving = &service.models()[0];
        assert_eq!((serving.runs_on.as_str(), serving.variant.as_str()), ("cuda:0", precision.as_str()));
    }
}

#[tokio::test]
async fn too_late_for_a_tier_below_is_overload_and_no_failure() {
    let service = films();
    let late = Call { deadline: Instant::now(), ..escalated(call(ASK), &service) };
    assert!(matches!(service.rank(late).await, Err(Failure::Overloaded { .. })));
}

#[tokio::test]
async fn is_ready_and_tells_its_models() {
    let service = films();
    assert_eq!(service.health(), Health::Ready);
    let serving = &service.models()[0];
    assert_eq!((serving.model.as_str(), serving.variant.as_str()), ("films", "f32"));
}

#[tokio::test]
async fn a_request_is_scored_by_the_bundle_it_is_for_while_two_are_in_service() {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |_| {});
    let service = service(folder.path());
    let (below, stamp) = (escalated(call(ASK), &service), service.models()[0].stamp);
    write_bundle(folder.path(), |v| {
        v.tensors.insert("table".to_owned(), Tensor::F32 { shape: vec![3, 1], data: vec![0.0, -9.0, 9.0] });
    });
    service.operations().unwrap().reload(&Reload::default()).unwrap();
    assert_ne!(service.models()[0].stamp, stamp);
    let (old, new) = tokio::join!(service.rank(below), service.rank(call(ASK)));
    let (old, new) = (old.unwrap(), new.unwrap());
    assert_eq!((ids(&old), old.stamp), (vec!["d", "a"], Some(stamp)), "the tier below has not swapped yet");
    assert_eq!((ids(&new), new.stamp), (vec!["b", "d"], Some(service.models()[0].stamp)));
}

#[tokio::test]
async fn an_item_that_the_tier_below_does_not_have_yet_is_scored_by_the_current_catalog() {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |_| {});
    let service = service(folder.path());
    let new = ASK.replace(r#""b""#, r#""new""#);
    let below = escalated(call(&new), &service);
    let edition = service.models.take("films", None).unwrap().edition.clone();
    let item = br#"{"id":"new","value":9.0,"genre":"War"}"#;
    let (delta, _) = Delta::make(edition.schema(), edition.stamp(), edition.catalog(), item).unwrap();
    service.operations().unwrap().add_delta(&delta).unwrap();
    let with = |why| Call { escalation: below.escalation.map(|below| Escalated { why, ..below }), ..below.clone() };

    let answer = service.rank(with(Why::UnknownItem)).await.unwrap();
    assert_eq!((ids(&answer), answer.warnings.len()), (vec!["new", "d"], 0));
    assert_eq!(answer.stamp.map(|stamp| stamp.catalog), Some(1));
    let kept = service.rank(with(Why::Unsure)).await.unwrap();
    assert_eq!(kept.stamp.map(|stamp| stamp.catalog), Some(0), "for any other reason, that of the tier below");
}

#[tokio::test]
async fn a_bundle_that_cannot_be_run_leaves_the_running_one_in_service() {
    let folder = TempDir::new().unwrap();
    write_bundle(folder.path(), |_| {});
    let service = service(folder.path());
    let stamp = service.models()[0].stamp;
    write_bundle(folder.path(), |v| {
        v.tensors.insert("table".to_owned(), Tensor::F32 { shape: vec![2, 1], data: vec![0.0; 2] });
    });
    let refused = service.operations().unwrap().reload(&Reload::default()).unwrap_err().to_string();
    assert!(refused.contains("origin.f32.safetensors: tensor `table`"), "{refused}");
    assert_eq!((service.models()[0].stamp, service.health()), (stamp, Health::Ready));
    assert_eq!(ids(&service.rank(call(ASK)).await.unwrap()), ["d", "a"]);
}
