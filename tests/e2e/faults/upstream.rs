//! The tiers above: killed while requests are under way, and halted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rung_tests::client::{Client, Error, Protocol};
use rung_tests::processes::Processes;
use rung_tests::proxy::Proxy;
use rung_tests::stack::Which;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::{LONG, LOOK, answered, back_to_normal, forgetful, others_are_served, place, upwards};
use crate::requests::{eval, ids, with};

/// Clients side by side, and how often each of them asks.
const CLIENTS: usize = 4;
const EVERY: Duration = Duration::from_millis(10);

/// How many answers each tier has given at each level; and what was no answer.
#[derive(Debug, Default)]
struct Seen {
    answers: BTreeMap<(String, u64), usize>,
    failures: Vec<String>,
}

/// Clients that ask the edge for the origin's answers until they are told to end.
struct Load {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(tiers: &Processes) -> Self {
        let requests: Vec<Value> = eval(100).into_iter().map(|r| with(r, json!({ "tier": "origin" }))).collect();
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, url) = (tiers.client(Protocol::Http2).unwrap(), tiers.url(Which::Edge, "/v1/rank"));
            let (seen, over, requests) = (seen.clone(), over.clone(), requests.clone());
            clients.spawn(async move {
                let mut clock = interval(EVERY);
                for request in requests.iter().cycle().skip(number * requests.len() / CLIENTS) {
                    clock.tick().await;
                    let asked = ask(&client, &url, request).await;
                    let mut seen = seen.lock().unwrap();
                    match asked {
                        Ok(place) => *seen.answers.entry(place).or_default() += 1,
                        Err(error) => seen.failures.push(error.to_string()),
                    }
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        Self { seen, over, clients }
    }

    /// Waits for more answers of one tier and level.
    async fn reaches(&self, tier: &str, level: u64, more: usize) {
        let key = (tier.to_owned(), level);
        let count = || self.seen.lock().unwrap().answers.get(&key).copied().unwrap_or_default();
        let (before, begun) = (count(), Instant::now());
        while count() < before + more {
            assert!(begun.elapsed() < LONG, "no {more} more of {key:?}: {:?}", self.seen.lock().unwrap());
            sleep(LOOK).await;
        }
    }

    /// Waits for the last answers, and tells what there has been.
    async fn end(mut self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn ask(client: &Client, url: &str, request: &Value) -> Result<(String, u64), Error> {
    let response = client.post(url, request.to_string()).await?;
    if response.status != 200 {
        return Err(format!("{}: {:?}", response.status, response.body).into());
    }
    let answer = response.json()?;
    let (tier, level) = place(&answer);
    if ids(&answer).len() == 10 { Ok((tier.to_owned(), level)) } else { Err(answer.to_string().into()) }
}

/// Kills one tier under load: the one below answers at level 1, and nobody is left without an answer.
async fn killed_under_load(which: Which, below: &str) {
    let tiers = forgetful().spawn().await.unwrap();
    let load = Load::start(&tiers);
    load.reaches("origin", 0, 50).await;
    tiers.kill(which).unwrap();
    load.reaches(below, 1, 100).await;
    others_are_served(&tiers, Which::Edge).await;
    assert_eq!(tiers.admin(Which::Edge, "/readyz").await.unwrap().status, 200, "the edge is as configured");
    tiers.start_again(which).await.unwrap();
    load.reaches("origin", 0, 50).await;
    let seen = load.end().await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    let others = seen
        .answers
        .keys()
        .find(|(tier, level)| (&tier[..], *level) != ("origin", 0) && (&tier[..], *level) != (below, 1));
    assert_eq!(others, None, "{seen:?}");
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn an_origin_killed_under_load_costs_no_answer() {
    killed_under_load(Which::Origin, "region").await;
}

#[tokio::test]
async fn a_region_killed_under_load_costs_no_answer() {
    killed_under_load(Which::Region, "edge").await;
}

/// What a client gives, and what a machine with much to do may take beyond that.
const GIVEN: Duration = Duration::from_millis(2500);
const SLACK: Duration = Duration::from_millis(2500);
/// So many failures in a row, and the tier above is no longer asked.
const FAILURES: usize = 5;

/// Halts one tier: the one below waits for as long as the request can, then no longer at all; and asks again later.
async fn halted(which: Which, below: Which) {
    let tiers = forgetful().spawn().await.unwrap();
    // The HTTP/3 that is found out beside is halted with the rest.
    let request = with(upwards(), json!({ "timeout_ms": GIVEN.as_millis() as u64 }));
    assert_eq!(place(&answered(&tiers, &request).await), ("origin", 0));
    tiers.halt(which).unwrap();
    let at_level_1 = async || {
        let asked = Instant::now();
        let answer = answered(&tiers, &request).await;
        let (tier, level) = place(&answer);
        assert!(tier != "origin" && level == 1, "{answer}");
        asked.elapsed()
    };
    let breaker = format!("{}_upstream_breaker_state", below.name());
    let mut waited = Vec::new();
    while tiers.metric(below, &breaker).await.unwrap() < 2.0 {
        waited.push(at_level_1().await);
        assert!(waited.len() <= FAILURES, "it is asked on and on: {waited:?}");
    }
    assert_eq!(waited.len(), FAILURES, "{waited:?}");
    assert!(waited.iter().all(|waited| *waited < GIVEN + SLACK), "longer than there is time: {waited:?}");
    let refused = format!("{}_upstream_replies_total{{outcome=\"refused_by_breaker\"}}", below.name());
    let before = tiers.metric(below, &refused).await.unwrap_or(0.0);
    let at_once = [at_level_1().await, at_level_1().await, at_level_1().await];
    // One that the machine did not keep.
    assert!(at_once.iter().min() < Some(&(GIVEN / 5)), "it is waited for: {at_once:?}");
    assert_eq!(tiers.metric(below, &refused).await.unwrap(), before + 3.0);
    tiers.go_on(which).unwrap();
    back_to_normal(&tiers).await;
    tiers.stop().await.unwrap();
}

#[tokio::test]
async fn a_halted_origin_is_not_waited_for_without_end() {
    halted(Which::Origin, Which::Region).await;
}

#[tokio::test]
async fn a_halted_region_is_not_waited_for_without_end() {
    halted(Which::Region, Which::Edge).await;
}

#[tokio::test]
async fn a_region_that_is_slow_but_alive_is_waited_for_while_there_is_time() {
    const LATE: Duration = Duration::from_millis(1200);
    let proxy = Proxy::start().await.unwrap();
    let tiers = forgetful().through(Which::Edge, &proxy).spawn().await.unwrap();
    let of = |given: Duration| with(upwards(), json!({ "timeout_ms": given.as_millis() as u64 }));
    assert_eq!(place(&answered(&tiers, &of(GIVEN)).await), ("origin", 0));
    proxy.delay(LATE);
    let asked = Instant::now();
    assert_eq!(place(&answered(&tiers, &of(LONG / 4)).await), ("origin", 0), "there is time");
    assert!(asked.elapsed() >= LATE, "it was slow");
    for _ in 0..2 {
        let (given, asked) = (LATE * 3 / 4, Instant::now());
        assert_eq!(place(&answered(&tiers, &of(given)).await), ("edge", 1), "there is not");
        assert!(asked.elapsed() < given + SLACK, "{:?}", asked.elapsed());
    }
    proxy.delay(Duration::ZERO);
    back_to_normal(&tiers).await;
    tiers.stop().await.unwrap();
}
