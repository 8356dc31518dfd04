//! Tests on the worker's file as it is shipped: what it imports, what it exports, how large it is, and that it ranks.

use std::time::Duration;

use minicbor::bytes::ByteSlice;
use shared_model::ladder::{Call, Outcome, Step};
use shared_model::wire::{Reason, Tier, Why, to_cbor};
use tempfile::TempDir;
use wasmtime::{Config, Engine, Module, OptLevel};

use super::{GuestFault, GuestLimits, Instance, Load, Program};
use crate::sample;

/// The worker itself, without a model. What a CDN's runtime can start within its limits is far more; this is what it
/// has as rustc makes it, and some room: whoever exceeds it has added something large.
const MAX_BYTES: u64 = 5 << 18;

const LIMITS: GuestLimits =
    GuestLimits { memory_bytes: 64 << 20, call: Duration::from_secs(2), load: Duration::from_secs(20) };

/// To be looked at, not to be run: compiled as quickly as can be.
fn module() -> Module {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None);
    Module::from_binary(&Engine::new(&config).expect("an engine"), &sample::worker()).expect("a WASM module")
}

fn load(tier: Tier) -> Load {
    let folder = TempDir::new().expect("a folder");
    sample::bundle(folder.path());
    sample::prepared(folder.path(), tier).1
}

fn instance(tier: Tier) -> Instance {
    let program = Program::compile(&sample::worker(), LIMITS).expect("a worker");
    Instance::start(&program, &load(tier)).expect("an instance")
}

/// What a guest that held this is told when nobody answers from above.
fn nobody_above(held: &[u8]) -> Vec<u8> {
    to_cbor(&(<&ByteSlice>::from(held), Outcome::Gone))
}

#[test]
fn the_worker_imports_nothing() {
    let module = module();
    let imports: Vec<_> =
        module.imports().map(|import| (import.module().to_owned(), import.name().to_owned())).collect();
    assert!(imports.is_empty(), "{imports:?}");
}

#[test]
fn the_worker_exports_its_abi_and_no_more() {
    // The last two are the linker's.
    let expected = [
        "memory",
        "rung_abi",
        "rung_allocations",
        "rung_begin",
        "rung_error",
        "rung_input",
        "rung_load",
        "rung_rank",
        "rung_resume",
        "rung_start",
        "__data_end",
        "__heap_base",
    ];
    let module = module();
    let mut exports: Vec<_> = module.exports().map(|export| export.name()).collect();
    exports.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(exports, expected);
}

#[test]
fn the_worker_is_small() {
    let bytes = std::fs::metadata(sample::worker_file()).expect("it is there").len();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes, at most {MAX_BYTES} are allowed");
}

#[test]
fn the_worker_answers_when_it_is_sure() {
    let Step::Answer(answer) = instance(Tier::Edge)
        .rank(&to_cbor(&Call { request: sample::request(1.0), below: None, part: None }))
        .expect("a step")
    else {
        panic!("no answer")
    };
    assert_eq!((answer.reason, answer.tier, answer.variant.as_deref()), (Reason::Sure, Tier::Edge, Some("w4")));
    assert_eq!(sample::ids(&answer.ranked), ["m9", "m8"]);
    assert_eq!(answer.ranked[0].score, Some(0.9));
}

#[test]
fn the_worker_escalates_when_it_is_not_and_another_goes_on() {
    let call = Call { request: sample::request(0.1), below: None, part: None };
    let program = Program::compile(&sample::worker(), LIMITS).expect("a worker");
    let load = load(Tier::Region);
    let step = Instance::start(&program, &load).expect("an instance").rank(&to_cbor(&call)).expect("a step");
    let Step::Escalate { held, message, .. } = step else { panic!("{step:?}") };
    assert_eq!((message.why, message.from), (Why::Unsure, Tier::Region));
    assert_eq!(message.request, call.request);
    let mut another = Instance::start(&program, &load).expect("an instance");
    let Step::Answer(answer) = another.resume(&nobody_above(&held)).expect("a step") else { panic!("no answer") };
    assert_eq!((answer.reason, answer.degradation, answer.agreement), (Reason::UpstreamGone, 1, None));
    assert_eq!(sample::ids(&answer.ranked), ["m9", "m8"]);
}

#[test]
fn the_worker_says_what_it_declines_and_goes_on() {
    let mut instance = instance(Tier::Edge);
    let declined = instance.resume(&nobody_above(b"not what it held")).expect("a step");
    assert!(matches!(&declined, Step::Refused(refusal) if refusal.message.contains("held")), "{declined:?}");
    assert!(matches!(
        instance.rank(&to_cbor(&Call { request: sample::request(1.0), below: None, part: None })),
        Ok(Step::Answer(_))
    ));
}

#[test]
fn the_worker_names_the_part_that_it_cannot_load() {
    let program = Program::compile(&sample::worker(), LIMITS).expect("a worker");
    let mut load = load(Tier::Edge);
    load.variant = load.variant[..100].into();
    let fault = Instance::start(&program, &load).err().expect("a fault");
    assert!(matches!(&fault, GuestFault::Declined(text) if text.starts_with("edge.w4.safetensors: ")), "{fault}");
}

#[test]
fn a_worker_that_cannot_hold_its_bundle_says_which_setting_to_raise() {
    let limits = GuestLimits { memory_bytes: 3 << 20, ..LIMITS };
    let program = Program::compile(&sample::worker(), limits).expect("a worker");
    let mut load = load(Tier::Edge);
    load.catalog.resize(4 << 20, 0);
    let fault = Instance::start(&program, &load).err().expect("a fault");
    assert!(matches!(fault, GuestFault::OutOfMemory { .. }), "{fault}");
    assert!(fault.to_string().contains("worker.memory_mib"), "{fault}");
}
