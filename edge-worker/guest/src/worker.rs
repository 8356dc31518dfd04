//! Parts, then what is made of them, then a ladder: what every ABI of the worker is a shell around.

use shared_model::bundle::CATALOG;
use shared_model::ladder::{Ladder, LoadError, Loaded, Payload, Terms};
use shared_model::limits;
use shared_model::wire::{CborError, Tier};
use thiserror::Error;

/// The longest message that is taken in.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// What a worker is loaded with, one call each, in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The schema, as JSON.
    Schema,
    /// The file of the tier's variant.
    Variant,
    /// `catalog.safetensors`.
    Catalog,
}

/// Why a worker does not do as it was told. None is the fault of a client.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The host speaks of a part that is none.
    #[error("{0} is not a part of a worker: expected 0 to 2")]
    UnknownPart(u32),
    /// The host speaks of a tier that is none.
    #[error("{0} is not the tier of a worker: expected 0 (edge) or 1 (region)")]
    UnknownTier(u32),
    /// A part is longer than any bundle's may be.
    #[error("{part} has {bytes} bytes, at most {max} are allowed")]
    PartTooLong {
        /// Its name.
        part: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: u64,
    },
    /// A part was not loaded.
    #[error("{0} was not loaded before the start")]
    MissingPart(&'static str),
    /// The parts are not those of a bundle.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is to begin before it has started, or again.
    #[error("the worker was not started, or has begun")]
    NotStarted,
    /// It is to begin at a tier that it was not started for.
    #[error("the worker was started for another tier: the bundle is mixed up")]
    OtherTier,
    /// A message came before it has begun.
    #[error("the worker has not begun")]
    NotBegun,
    /// A message cannot be one.
    #[error("a message of {0} bytes: at most {MAX_MESSAGE_BYTES} are allowed")]
    MessageTooLong(usize),
    /// A message is not the one expected: host and guest are of different versions.
    #[error(transparent)]
    Message(#[from] CborError),
}

/// One worker: parts until [`Self::start`], what is made of them until [`Self::begin`], a ladder from then on.
#[derive(Debug, Default)]
pub struct Worker {
    parts: [Vec<u8>; Part::ALL.len()],
    loaded: Option<Loaded>,
    ladder: Option<Ladder>,
}

impl Worker {
    /// A worker without parts.
    #[must_use]
    pub const fn new() -> Self {
        Self { parts: [const { Vec::new() }; Part::ALL.len()], loaded: None, ladder: None }
    }

    /// Takes a part; the last of a kind counts.
    ///
    /// # Errors
    /// It is longer than any bundle's may be.
    pub fn load(&mut self, part: Part, bytes: Vec<u8>) -> Result<(), WorkerError> {
        if bytes.len() as u64 > part.max_bytes() {
            return Err(WorkerError::PartTooLong { part: part.name(), bytes: bytes.len(), max: part.max_bytes() });
        }
        self.parts[part as usize] = bytes;
        Ok(())
    }

    /// Does all that takes long, and lets go of the parts. `tier` is 0 for an edge, 1 for a region.
    ///
    /// # Errors
    /// Names the part at fault.
    pub fn start(&mut self, tier: u32, item_table_bytes: u32) -> Result<(), WorkerError> {
        let tier = tier_of(tier)?;
        let mut parts = std::mem::take(&mut self.parts);
        if let Some(missing) = Part::ALL.into_iter().find(|&part| parts[part as usize].is_empty()) {
            return Err(WorkerError::MissingPart(missing.name()));
        }
        let [schema, variant, catalog] = &parts;
        self.loaded = Some(Loaded::new(tier, item_table_bytes, Payload { schema, variant, catalog })?);
        // A snapshot has the memory as it is, what was freed included: zeros take no room in it.
        std::hint::black_box(&mut parts).iter_mut().for_each(|part| part.fill(0));
        std::hint::black_box(&parts);
        Ok(())
    }

    /// Makes the ladder, by a bundle's `Terms` and the tier's limits: a pair, as CBOR.
    ///
    /// # Errors
    /// Not started, or for another tier, or not that pair.
    pub fn begin(&mut self, tier: u32, message: &[u8]) -> Result<(), WorkerError> {
        let (terms, limits) = Terms::with_limits(bounded(message)?)?;
        let tier = tier_of(tier)?;
        match self.loaded.take() {
            Some(loaded) if loaded.tier() == tier => self.ladder = Some(loaded.begin(terms, limits)),
            Some(_) => return Err(WorkerError::OtherTier),
            None => return Err(WorkerError::NotStarted),
        }
        Ok(())
    }

    /// From a `Call` to a `Step`, both as CBOR.
    ///
    /// # Errors
    /// Not begun, or not a `Call`.
    pub fn rank(&mut self, call: &[u8]) -> Result<Vec<u8>, WorkerError> {
        let ladder = self.ladder.as_mut().ok_or(WorkerError::NotBegun)?;
        Ok(ladder.rank_cbor(bounded(call)?)?)
    }

    /// From `[held, Outcome]` to a `Step`, both as CBOR.
    ///
    /// # Errors
    /// Not begun, or not that pair.
    pub fn resume(&mut self, message: &[u8]) -> Result<Vec<u8>, WorkerError> {
        let ladder = self.ladder.as_mut().ok_or(WorkerError::NotBegun)?;
        Ok(ladder.resume_cbor(bounded(message)?)?)
    }
}

fn tier_of(number: u32) -> Result<Tier, WorkerError> {
    match number {
        0 => Ok(Tier::Edge),
        1 => Ok(Tier::Region),
        other => Err(WorkerError::UnknownTier(other)),
    }
}

fn bounded(message: &[u8]) -> Result<&[u8], WorkerError> {
    if message.len() > MAX_MESSAGE_BYTES { Err(WorkerError::MessageTooLong(message.len())) } else { Ok(message) }
}

impl Part {
    /// In the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Schema, Self::Variant, Self::Catalog];

    /// The part of a number of the ABI.
    ///
    /// # Errors
    /// There is none.
    pub fn of(number: u32) -> Result<Self, WorkerError> {
        let index = usize::try_from(number).ok();
        index.and_then(|i| Self::ALL.get(i)).copied().ok_or(WorkerError::UnknownPart(number))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Schema => "the schema",
            Self::Variant => "the variant",
            Self::Catalog => CATALOG,
        }
    }

    fn max_bytes(self) -> u64 {
        match self {
            Self::Schema => limits::MAX_SCHEMA_BYTES,
            Self::Variant | Self::Catalog => limits::MAX_TENSORS_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use minicbor::bytes::ByteSlice;
    use shared_model::bundle::Manifest;
    use shared_model::catalog::{Catalog, item_from_json};
    use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, Unary};
    use shared_model::ladder::{Call, Outcome, Step, TierLimits};
    use shared_model::schema::Schema;
    use shared_model::variant::{Variant, VariantName};
    use shared_model::wire::{Candidate, Digest, RankRequest, Reason, Record, TierChoice, Why, from_cbor, to_cbor};

    use super::*;

    const LIMITS: TierLimits = TierLimits { max_candidates: 10, max_k: 10, item_table_bytes: 1 << 20 };

    /// The parts of a model that ranks items by their `quality`, in the order of [`Part::ALL`].
    fn parts() -> [Vec<u8>; 3] {
        let schema = r#"{"schema_version":1,"model":"toy",
            "feature":[{"name":"quality","kind":"numeric","scope":"item"}]}"#;
        let schema = Schema::from_json(schema.as_bytes()).expect("a schema");
        let items = (0..4).map(|i| item_from_json(&format!(r#"{{"id":"m{i}","quality":{i}}}"#)).expect("an item"));
        let catalog = Catalog::build(&schema, items).expect("a catalog").to_safetensors(&schema);
        let mut builder = Builder::new();
        let ty = Type { dtype: DType::F32, shape: Vec::new(), scope: Scope::Item };
        let quality = builder.input("quality", ty).expect("an input");
        let score = builder.push("score", Op::Unary(Unary::Neg), &[quality]).expect("a node");
        let graph = builder.finish(score, Link::Identity).expect("a graph");
        let variant = Variant { name: VariantName::W4, graph, tensors: BTreeMap::new(), noise: None };
        [schema.to_json(), variant.to_bytes().expect("a variant"), catalog]
    }

    fn started() -> Worker {
        let mut worker = Worker::new();
        for (part, bytes) in Part::ALL.into_iter().zip(parts()) {
            worker.load(part, bytes).expect("a part");
        }
        worker.start(0, LIMITS.item_table_bytes).expect("a bundle");
        worker
    }

    fn terms() -> Vec<u8> {
        let terms = Terms::new(&Manifest::new("toy", "7", 1, b""), Digest([7; 32]));
        to_cbor(&(terms, LIMITS))
    }

    fn begun() -> Worker {
        let mut worker = started();
        worker.begin(0, &terms()).expect("terms");
        worker
    }

    fn call(tier: TierChoice) -> Vec<u8> {
        let candidates = (0..4).map(|i| Candidate { id: format!("m{i}"), features: None }).collect();
        let request = RankRequest {
            model: "toy".to_owned(),
            k: 2,
            user: Record::default(),
            context: Record::default(),
            candidates,
            exclude: Vec::new(),
            timeout_ms: None,
            tier,
            explain: false,
        };
        to_cbor(&Call { request, below: None, part: None })
    }

    fn ids(step: &[u8]) -> (Reason, Vec<String>) {
        match from_cbor(step).expect("a step") {
            Step::Answer(answer) => (answer.reason, answer.ranked.into_iter().map(|entry| entry.id).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranks_once_it_has_begun() {
        let step = begun().rank(&call(TierChoice::Edge)).expect("a step");
        assert_eq!(ids(&step), (Reason::Asked, vec!["m0".to_owned(), "m1".to_owned()]));
    }

    #[test]
    fn goes_on_with_what_another_worker_held() {
        let step = begun().rank(&call(TierChoice::Auto)).expect("a step");
        let Step::Escalate { held, message, .. } = from_cbor(&step).expect("a step") else { panic!("it answers") };
        assert_eq!(message.why, Why::NoPolicy);
        let pair = to_cbor(&(<&ByteSlice>::from(&held[..]), Outcome::Gone));
        let step = begun().resume(&pair).expect("a step");
        assert_eq!(ids(&step), (Reason::UpstreamGone, vec!["m0".to_owned(), "m1".to_owned()]));
    }

    #[test]
    fn rejects_a_start_without_all_parts_and_names_the_missing_one() {
        for missing in Part::ALL {
            let mut worker = Worker::new();
            for (part, bytes) in Part::ALL.into_iter().zip(parts()).filter(|(part, _)| *part != missing) {
                worker.load(part, bytes).expect("a part");
            }
            let refused = worker.start(0, 0).expect_err("it starts");
            assert!(matches!(refused, WorkerError::MissingPart(name) if name == missing.name()), "{refused}");
        }
    }

    #[test]
    fn rejects_a_part_that_is_not_of_a_bundle_and_names_it() {
        let names = ["features", "edge.w4.safetensors", "catalog.safetensors"];
        for (bad, name) in Part::ALL.into_iter().zip(names) {
            let mut worker = Worker::new();
            for (part, bytes) in Part::ALL.into_iter().zip(parts()) {
                worker.load(part, if part == bad { b"bad".to_vec() } else { bytes }).expect("a part");
            }
            let refused = worker.start(0, 0).expect_err("it starts").to_string();
            assert!(refused.starts_with(name), "{refused}");
            assert!(matches!(worker.begin(0, &terms()), Err(WorkerError::NotStarted)));
        }
    }

    #[test]
    fn rejects_a_schema_longer_than_any() {
        let long = vec![b' '; usize::try_from(limits::MAX_SCHEMA_BYTES).expect("it fits") + 1];
        let refused = Worker::new().load(Part::Schema, long).expect_err("it is taken");
        assert!(matches!(refused, WorkerError::PartTooLong { part: "the schema", .. }), "{refused}");
    }

    #[test]
    fn rejects_numbers_that_the_abi_does_not_have() {
        assert!(matches!(Part::of(3), Err(WorkerError::UnknownPart(3))));
        for tier in [2, u32::MAX] {
            assert!(matches!(started().start(tier, 0), Err(WorkerError::UnknownTier(t)) if t == tier));
            assert!(matches!(started().begin(tier, &terms()), Err(WorkerError::UnknownTier(t)) if t == tier));
        }
    }

    #[test]
    fn rejects_messages_before_it_has_begun() {
        assert!(matches!(started().rank(&call(TierChoice::Edge)), Err(WorkerError::NotBegun)));
        assert!(matches!(started().resume(&[]), Err(WorkerError::NotBegun)));
    }

    #[test]
    fn begins_once_at_the_tier_that_it_was_started_for() {
        assert!(matches!(Worker::new().begin(0, &terms()), Err(WorkerError::NotStarted)));
        assert!(matches!(begun().begin(0, &terms()), Err(WorkerError::NotStarted)));
        assert!(matches!(started().begin(1, &terms()), Err(WorkerError::OtherTier)));
        let mut worker = started();
        assert!(matches!(worker.begin(0, b"no terms"), Err(WorkerError::Message(_))));
        worker.begin(0, &terms()).expect("another try");
    }

    #[test]
    fn rejects_what_is_not_a_message_and_goes_on() {
        let mut worker = begun();
        let valid = call(TierChoice::Edge);
        let truncated = &valid[..valid.len() - 1];
        for bytes in [&b""[..], b"not a call", truncated] {
            assert!(matches!(worker.rank(bytes), Err(WorkerError::Message(_))));
            assert!(matches!(worker.resume(bytes), Err(WorkerError::Message(_))));
        }
        worker.rank(&valid).expect("a step");
    }

    #[test]
    fn rejects_a_message_longer_than_any() {
        let long = vec![0; MAX_MESSAGE_BYTES + 1];
        assert!(matches!(begun().rank(&long), Err(WorkerError::MessageTooLong(_))));
    }
}
