//! Clients that ask every tier while bundles and catalogs change, and what they may be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rung_tests::stack::{Stack, Which};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::site::ready;
use crate::requests::{eval, with};

const CLIENTS: usize = 3;
/// Whose answer that is which any tier may give that is sure.
const ANY: &str = "auto";

/// Where is asked, and for whose answer.
type Way = (Which, &'static str);

const WAYS: [Way; 7] = [
    (Which::Edge, ANY),
    (Which::Edge, "edge"),
    (Which::Edge, "region"),
    (Which::Edge, "origin"),
    (Which::Region, ANY),
    (Which::Region, "region"),
    (Which::Origin, "origin"),
];
/// Those whose answers differ.
const DIRECT: [Way; 5] = [WAYS[0], WAYS[1], WAYS[4], WAYS[5], WAYS[6]];

pub(super) fn requests() -> Vec<Value> {
    eval(5).into_iter().map(|request| with(request, json!({ "timeout_ms": 10_000 }))).collect()
}

async fn asked(stack: &Stack, (at, tier): Way, request: &Value) -> Value {
    let response = stack.rank_at(at, with(request.clone(), json!({ "tier": tier })).to_string()).await;
    let response = response.expect("no request fails");
    let answer = response.json().unwrap();
    if (response.status.as_u16(), &answer["degradation"]) != (200, &json!(0)) {
        panic!("{at:?}, asked for {tier}: {answer}\n{}", of_upstreams(stack).await);
    }
    assert!(tier == ANY || answer["tier"] == tier, "the {tier} was asked: {answer}");
    answer
}

/// What the tiers have counted of those above.
async fn of_upstreams(stack: &Stack) -> String {
    let mut lines = String::new();
    for which in [Which::Edge, Which::Region] {
        let told = stack.admin(which, "/metrics").await.unwrap();
        let told = String::from_utf8_lossy(&told.body).into_owned();
        let counted = told.lines().filter(|line| line.contains("_upstream_") && !line.contains("_bucket{"));
        lines.extend(counted.filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")));
    }
    lines
}

const EDGES: &str = "whoever the edge takes";
const REGIONS: &str = "whoever the region takes";

/// What the same answer is to be expected of.
fn whose((at, tier): Way) -> &'static str {
    match (tier, at) {
        (ANY, Which::Edge) => EDGES,
        (ANY, _) => REGIONS,
        (tier, _) => tier,
    }
}

/// And of whom it may be while tiers are not in the same state: the one above then takes the whole request, and decides
/// by its own policy if it has come to that state meanwhile.
fn instead((at, tier): Way) -> &'static [&'static str] {
    match (tier, at) {
        (ANY, Which::Edge) => &[REGIONS, "origin"],
        (ANY, _) => &["origin"],
        _ => &[],
    }
}

/// All that tiers answer which are on the same bundle and the same revision of its catalog.
#[derive(Debug)]
pub(super) struct State {
    pub(super) version: String,
    pub(super) revision: u64,
    /// By whose they are, and the request.
    pub(super) rankings: BTreeMap<(&'static str, usize), Value>,
}

impl State {
    /// The present one, in which all tiers are.
    pub(super) async fn now(stack: &Stack) -> Self {
        let model = ready(stack, Which::Edge).await["models"][0].take();
        let mut rankings = BTreeMap::new();
        for (i, request) in requests().iter().enumerate() {
            for way in DIRECT {
                rankings.insert((whose(way), i), asked(stack, way, request).await["ranked"].take());
            }
        }
        let version = model["version"].as_str().unwrap().to_owned();
        Self { version, revision: model["catalog"].as_u64().unwrap(), rankings }
    }

    fn gives(&self, told: &Told) -> bool {
        let mut whose = instead(told.way).iter().copied().chain([whose(told.way)]);
        whose.any(|whose| alike(&told.answer["ranked"], &self.rankings[&(whose, told.request)]))
    }
}

/// An answer.
pub(super) struct Told {
    way: Way,
    request: usize,
    answer: Value,
}

impl Told {
    /// The one state that the answer is of, whose version it tells.
    fn of<'a>(&self, states: &'a [State]) -> &'a State {
        let found: Vec<&State> = states.iter().filter(|state| state.gives(self)).collect();
        let [state] = found[..] else {
            let of: Vec<_> = found.iter().map(|state| (&state.version, state.revision)).collect();
            panic!("of one revision of one version, not {of:?}: {:?} {}", self.way, self.answer)
        };
        assert_eq!(self.answer["version"], state.version, "{}", self.answer);
        state
    }
}

/// Every tier that has answered when it was asked to, in every state in which one has.
pub(super) fn each_of_one<'a>(told: &[Told], states: &'a [State]) -> BTreeSet<(&'a str, u64, &'static str)> {
    let of = |told: &Told| {
        let State { version, revision, .. } = told.of(states);
        (&version[..], *revision, told.way.1)
    };
    told.iter().map(of).collect()
}

/// The same ranking with the same scores, but for what the order of the origin's sums in a batch changes.
fn alike(one: &Value, other: &Value) -> bool {
    let (one, other) = (one.as_array().unwrap(), other.as_array().unwrap());
    let score = |entry: &Value| entry["score"].as_f64().unwrap();
    let same =
        |(a, b): (&Value, &Value)| a["id"] == b["id"] && a["by"] == b["by"] && (score(a) - score(b)).abs() <= 1e-6;
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Clients that ask in every way, one after the other.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Told>>>,
}

impl Load {
    pub(super) fn start(stack: &Arc<Stack>) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..CLIENTS).map(|first| {
            let (stack, over, answered) = (stack.clone(), over.clone(), answered.clone());
            tokio::spawn(async move {
                let (requests, mut told) = (requests(), Vec::new());
                for turn in (first..).take_while(|_| !over.load(Ordering::Relaxed)) {
                    let (way, request) = (WAYS[turn % WAYS.len()], turn / WAYS.len() % requests.len());
                    told.push(Told { way, request, answer: asked(&stack, way, &requests[request]).await });
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                told
            })
        });
        let clients = clients.collect();
        Self { over, answered, clients }
    }

    /// Waits until there have been more answers, in every way.
    pub(super) async fn goes_on(&self) {
        let enough = self.answered.load(Ordering::Relaxed) + 2 * CLIENTS * WAYS.len();
        while self.answered.load(Ordering::Relaxed) < enough && self.clients.iter().any(|client| !client.is_finished())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn end(self) -> Vec<Told> {
        self.over.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for client in self.clients {
            told.extend(client.await.unwrap());
        }
        told
    }
}
