//! Workers that a bundle has pre-initialized: made alike by every build, and the same to the bit as those that are loaded.

use std::time::Duration;

use pop::hosting::{Guest, GuestLimits, Worker};
use quantize::snapshot::{self, SnapshotError};
use rung_tests::stack::{test_bundle, worker};
use shared_model::bundle::{Edition, TierFiles};
use shared_model::ladder::{Call, Outcome, Payload, Step, Terms, TierLimits};
use shared_model::variant::VariantName;
use shared_model::wire::json::{JsonLimits, decode};
use shared_model::wire::{Tier, from_cbor, to_cbor};

use crate::requests::eval;

const BOUNDS: GuestLimits =
    GuestLimits { memory_bytes: 64 << 20, call: Duration::from_secs(10), load: Duration::from_secs(60) };
const LIMITS: TierLimits = TierLimits { max_candidates: 1000, max_k: 100, item_table_bytes: 1 << 20 };

/// What a tier has of the test bundle.
struct Parts {
    terms: Terms,
    schema: Vec<u8>,
    catalog: Vec<u8>,
    files: TierFiles,
}

impl Parts {
    fn of(tier: Tier) -> Self {
        let read = |file: &str, _| std::fs::read(test_bundle().join(file)).map_err(|error| error.to_string());
        let (edition, files) = Edition::read(VariantName::of(tier), read).unwrap();
        let (schema, catalog) = (edition.schema(), edition.catalog());
        let terms = Terms::new(edition.manifest(), edition.stamp().bundle);
        Self { terms, schema: schema.to_json(), catalog: catalog.to_safetensors(schema), files }
    }

    fn payload(&self) -> Payload<'_> {
        Payload { schema: &self.schema, variant: &self.files.variant, catalog: &self.catalog }
    }
}

fn plain() -> Vec<u8> {
    std::fs::read(worker()).unwrap()
}

#[test]
fn every_build_makes_the_same_worker() {
    let plain = plain();
    let worker = snapshot::Worker::compile(&plain).unwrap();
    for tier in [Tier::Edge, Tier::Region] {
        let parts = Parts::of(tier);
        let own = parts.files.worker.as_ref().expect("scripts/test-bundle.sh builds it with a worker");
        let again = worker.snapshot(tier, parts.payload()).unwrap();
        assert!(again == *own, "{tier:?}: another one than the bundle's, of {} and {} bytes", again.len(), own.len());
    }
}

/// Every step of both, to a request and to an upper tier that is gone.
fn same_steps(one: &mut Guest, other: &mut Guest) {
    for case in eval(50) {
        let request = decode(case.to_string().as_bytes(), &JsonLimits::default()).unwrap().request;
        let call = to_cbor(&Call { request, below: None, part: None });
        let step = one.rank(&call).unwrap().to_vec();
        assert_eq!(other.rank(&call).unwrap(), step);
        if let Step::Escalate { held, .. } = from_cbor(&step).unwrap() {
            let gone = to_cbor(&(minicbor::bytes::ByteVec::from(held), Outcome::Gone));
            assert_eq!(other.resume(&gone).unwrap(), one.resume(&gone).unwrap());
        }
    }
}

#[test]
fn a_pre_initialized_worker_takes_the_same_steps_as_one_that_is_loaded() {
    let loads = Worker::compile(&plain(), BOUNDS).unwrap();
    for tier in [Tier::Edge, Tier::Region] {
        let parts = Parts::of(tier);
        let own = Worker::compile(parts.files.worker.as_ref().unwrap(), BOUNDS).unwrap();
        let mut loaded = loads.start(tier, LIMITS, &parts.terms, Some(parts.payload())).unwrap();
        let mut begun = own.start(tier, LIMITS, &parts.terms, None).unwrap();
        same_steps(&mut loaded, &mut begun);
        // What one has written into its memory is its own.
        let mut next = own.start(tier, LIMITS, &parts.terms, None).unwrap();
        same_steps(&mut loaded, &mut next);
    }
}

#[test]
fn a_worker_that_has_answered_asks_nothing_of_its_heap() {
    let parts = Parts::of(Tier::Edge);
    let own = Worker::compile(parts.files.worker.as_ref().unwrap(), BOUNDS).unwrap();
    let mut guest = own.start(Tier::Edge, LIMITS, &parts.terms, None).unwrap();
    let calls: Vec<Vec<u8>> = eval(50)
        .into_iter()
        .map(|case| {
            let request = decode(case.to_string().as_bytes(), &JsonLimits::default()).unwrap().request;
            to_cbor(&Call { request, below: None, part: None })
        })
        .collect();
    let mut rank = |call: &[u8]| {
        let step = from_cbor(guest.rank(call).unwrap()).unwrap();
        if let Step::Escalate { held, .. } = step {
            guest.resume(&to_cbor(&(minicbor::bytes::ByteVec::from(held), Outcome::Gone))).unwrap();
        }
        guest.allocations().unwrap()
    };
    let mut all = || calls.iter().map(|call| rank(call)).collect::<Vec<u64>>();
    let (once, again) = (all(), all());
    assert_ne!(once[0], 0, "it counts");
    let last = *once.last().unwrap();
    assert!(last - once[0] < 20, "{} times more after the first request: {once:?}", last - once[0]);
    assert!(again.iter().all(|asked| *asked == last), "{again:?} after {last}");
}

#[test]
fn a_worker_that_has_declined_a_message_first_asks_nothing_of_its_heap_either() {
    let parts = Parts::of(Tier::Edge);
    let own = Worker::compile(parts.files.worker.as_ref().unwrap(), BOUNDS).unwrap();
    let mut guest = own.start(Tier::Edge, LIMITS, &parts.terms, None).unwrap();
    let mut requests = eval(4);
    requests.insert(0, crate::requests::with(requests[0].clone(), serde_json::json!({ "tier": "origin" })));
    let mut asked = Vec::new();
    for _ in 0..3 {
        assert!(guest.rank(b"no call").is_err());
        for request in &requests {
            let request = decode(request.to_string().as_bytes(), &JsonLimits::default()).unwrap().request;
            guest.rank(&to_cbor(&Call { request, below: None, part: None })).unwrap();
        }
        asked.push(guest.allocations().unwrap());
    }
    // The text of an error is the heap's.
    assert!(asked[2] - asked[1] <= 4, "{asked:?}");
}

#[test]
fn what_has_loaded_has_no_code_that_loads() {
    let (plain, parts) = (plain(), Parts::of(Tier::Edge));
    let own = Worker::compile(parts.files.worker.as_ref().unwrap(), BOUNDS).unwrap();
    let refused = own.start(Tier::Edge, LIMITS, &parts.terms, Some(parts.payload())).err().expect("it loads again");
    assert!(refused.to_string().contains("rung_load"), "{refused}");
    let left = snapshot::without_loading(&plain).unwrap();
    assert!(left.len() < plain.len() * 2 / 3, "{} of {} bytes", left.len(), plain.len());
}

#[test]
fn a_worker_begins_only_at_the_tier_that_it_was_started_for() {
    let parts = Parts::of(Tier::Edge);
    let own = Worker::compile(parts.files.worker.as_ref().unwrap(), BOUNDS).unwrap();
    let refused = own.start(Tier::Region, LIMITS, &parts.terms, None).err().expect("it begins").to_string();
    assert!(refused.contains("another tier"), "{refused}");
}

#[test]
fn what_cannot_be_pre_initialized_says_why() {
    let (plain, parts) = (plain(), Parts::of(Tier::Edge));
    let foreign = snapshot::Worker::compile(b"not a module").err().expect("it is compiled").to_string();
    assert!(foreign.contains("scripts/build-worker.sh"), "{foreign}");
    let empty = b"\0asm\x01\0\0\0";
    let worker = snapshot::Worker::compile(empty).unwrap();
    assert!(matches!(worker.snapshot(Tier::Edge, parts.payload()), Err(SnapshotError::Foreign(_))));

    let worker = snapshot::Worker::compile(&plain).unwrap();
    let refused = |tier, payload| worker.snapshot(tier, payload).expect_err("it is made");
    let other = refused(Tier::Region, parts.payload());
    assert!(matches!(&other, SnapshotError::Declined(text) if text.starts_with("region.w8.safetensors: ")), "{other}");
    assert!(matches!(refused(Tier::Origin, parts.payload()), SnapshotError::Origin));
    let catalog = vec![0; 65 << 20];
    let large = refused(Tier::Edge, Payload { catalog: &catalog, ..parts.payload() });
    assert!(matches!(large, SnapshotError::TooLarge { .. }), "{large}");
}
