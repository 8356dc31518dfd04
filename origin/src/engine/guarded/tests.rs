use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use front::metrics::{Registry, registry};
use prometheus_client::encoding::text::encode;
use shared_model::wire::Tier;

use super::*;
use crate::device::{Device, Kind, Precision};

/// Scores with its number; fails as told by the faults that are left.
#[derive(Debug)]
struct Numbered {
    score: f32,
    device: Kind,
    /// Batches until it is lost for good.
    left: AtomicUsize,
    panics: bool,
}

impl Numbered {
    fn new(score: f32, device: Kind, left: usize, panics: bool) -> Self {
        Self { score, device, left: AtomicUsize::new(left), panics }
    }
}

impl Scorer for Numbered {
    fn score(&self, batch: Batch) -> Result<Scores, RunError> {
        if batch.requests == 0 {
            return Err(RunError::Inputs { expected: 1, got: 0 });
        }
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        match left {
            Ok(_) => Ok(vec![self.score; batch.owner.len()].into()),
            Err(_) if self.panics => panic!("unspecified launch failure, on purpose"),
            Err(_) => Err(RunError::Device("lost, on purpose".to_owned())),
        }
    }

    fn samples(&self) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new([batch(1), batch(1)].into_iter())
    }

    fn runs_on(&self) -> RunsOn {
        RunsOn { device: self.device, precision: Precision::F32, note: None }
    }
}

const CPU: f32 = 0.25;

fn batch(requests: usize) -> Batch {
    Batch { requests, owner: vec![0; 2], inputs: Vec::new() }
}

/// A device that scores `lives[i]` batches after its `i`-th making, samples included, and then is lost.
fn guarded(lives: &'static [usize], panics: bool) -> (Guarded, Arc<AtomicUsize>, Registry) {
    let mut registry = registry(Tier::Origin);
    let metrics = Metrics::register(&mut registry, &Device::cpu());
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let make: Make = Box::new(move || {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        let left = lives.get(nth).copied().unwrap_or(usize::MAX);
        Ok(Arc::new(Numbered::new(nth as f32 + 1.0, Kind::Cuda(0), left, panics)))
    });
    let spare = Arc::new(Numbered::new(CPU, Kind::Cpu, usize::MAX, false));
    let guarded = Guarded::waiting(spare, make, metrics, Duration::from_millis(20));
    (guarded, made, registry)
}

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn scores_on_the_device_while_it_works() {
    let (guarded, _, registry) = guarded(&[], false);
    assert_eq!(guarded.score(batch(1)).unwrap().values, [1.0, 1.0]);
    assert_eq!(guarded.runs_on().device, Kind::Cuda(0));
    assert!(shown(&registry).contains("origin_device_lost 0"));
}

#[test]
fn the_batch_that_loses_the_device_is_scored_on_the_cpu() {
    for panics in [false, true] {
        // Two samples and a batch; then two attempts to come back in vain, and one that is not.
        let (guarded, made, registry) = guarded(&[3, 0, 1], panics);
        assert_eq!(guarded.score(batch(1)).unwrap().values, [1.0; 2]);
        assert_eq!(guarded.score(batch(1)).unwrap().values, [CPU; 2], "no batch fails for it");
        let now = guarded.runs_on();
        let why = if panics { "unspecified launch failure" } else { "lost, on purpose" };
        assert!(now.device == Kind::Cpu && now.note.as_deref().is_some_and(|note| note.contains(why)), "{now:?}");
        let text = shown(&registry);
        assert!(text.contains("origin_device_lost 1") && text.contains("origin_device_losses_total 1"), "{text}");
        until(|| guarded.runs_on().device == Kind::Cuda(0));
        assert_eq!(made.load(Ordering::Relaxed), 4, "it was tried again until it worked");
        assert_eq!(guarded.score(batch(1)).unwrap().values, [4.0; 2]);
        assert!(shown(&registry).contains("origin_device_lost 0"));
    }
}

#[test]
fn a_batch_that_does_not_fit_loses_no_device() {
    let (guarded, ..) = guarded(&[], false);
    assert_eq!(guarded.score(batch(0)).unwrap_err(), RunError::Inputs { expected: 1, got: 0 });
    assert_eq!(guarded.runs_on().device, Kind::Cuda(0));
}

#[test]
fn a_device_that_does_not_score_the_samples_is_lost_from_the_start() {
    // One sample of two.
    let (guarded, made, registry) = guarded(&[1], true);
    assert!(guarded.lost().is_some_and(|reason| reason.contains("unspecified launch failure")));
    assert_eq!(guarded.score(batch(1)).unwrap().values, [CPU; 2]);
    assert!(shown(&registry).contains("origin_device_losses_total 1"));
    until(|| guarded.lost().is_none());
    assert_eq!((made.load(Ordering::Relaxed), guarded.score(batch(1)).unwrap().values), (2, vec![2.0; 2]));
}

#[test]
fn a_lost_device_is_not_tried_for_nobody() {
    let (guarded, _, registry) = guarded(&[2], false);
    guarded.score(batch(1)).unwrap();
    let guard = Arc::downgrade(&guarded.0);
    drop(guarded);
    until(|| guard.strong_count() == 0);
    assert!(shown(&registry).contains("origin_device_lost 0"));
}
