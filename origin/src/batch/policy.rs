//! Which requests share the next batch, and when it is made: a pure function of what waits and of `now`. No clock, no
//! channel, no device; [`super::worker`] does what is decided here.
//!
//! An entry waits for company, but no longer than [`Limits::max_delay`]. Then the entries of its lane go, those of the
//! earliest deadline first, as many as fit. A lane is of a model, or of one of its bundles while two are in service. Of
//! several lanes the one with the earliest deadline goes first, unless others have been passed over too often: then the
//! one passed over most. While the device computes, the next batch is put together as late as it can be without letting
//! the device wait: until then, whoever arrives can still join it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Limits;
use super::pace::Pace;

/// The part of an entry's time that waiting for company may use up.
const COMPANY_PART: u32 = 4;
/// How often in a row a lane may be passed over for one with an earlier deadline. Of those passed over so often each may
/// wait for the others to have their turn.
const PASSES: u32 = 3;
/// The next batch is wanted when this much of the least that the running one takes has passed, of four.
const PREFETCH_QUARTERS: u32 = 3;

/// A request that waits for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<T> {
    pub(super) candidates: usize,
    pub(super) arrived: Instant,
    pub(super) deadline: Instant,
    pub(super) load: T,
}

/// Names a lane; no other one ever has the same.
pub(super) type LaneId = usize;

/// Where an entry is, for who wants to take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    lane: LaneId,
    key: Key,
}

/// The earliest deadline first; of equal ones, whoever came first.
type Key = (Instant, u64);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Nothing before this instant, or before something changes.
    Wait(Option<Instant>),
    /// A batch of these entries of one lane.
    Take { lane: LaneId, entries: Vec<Entry<T>> },
}

/// All that waits, by lane, and what is known of the device.
#[derive(Debug)]
pub(super) struct Queue<T> {
    limits: Limits,
    lanes: BTreeMap<LaneId, Lane<T>>,
    opened: LaneId,
    arrivals: u64,
    /// What the batch takes, as a rule, that is made and that the device has not begun.
    ahead: Duration,
    running: Option<Running>,
}

/// What waits for one scorer.
#[derive(Debug)]
struct Lane<T> {
    /// The most requests that its scorer takes at once.
    most_requests: usize,
    entries: BTreeMap<Key, Entry<T>>,
    candidates: usize,
    passed_over: u32,
    pace: Pace,
}

/// The batch that the device computes.
#[derive(Clone, Copy, Debug)]
struct Running {
    since: Instant,
    least: Duration,
    usual: Duration,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, lanes: BTreeMap::new(), opened: 0, arrivals: 0, ahead: Duration::ZERO, running: None }
    }

    /// A new lane to a scorer of so many requests at once, with nothing in it and nothing known of its pace.
    pub(super) fn open(&mut self, most_requests: usize) -> LaneId {
        let id = self.opened;
        self.opened += 1;
        let entries = BTreeMap::new();
        let lane = Lane { most_requests, entries, candidates: 0, passed_over: 0, pace: Pace::default() };
        self.lanes.insert(id, lane);
        id
    }

    /// Ends a lane. Of a batch of it that the device still has, nothing more is noted.
    pub(super) fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
    }

    /// Adds an entry to a lane.
    ///
    /// # Panics
    /// The lane has been closed.
    pub(super) fn push(&mut self, id: LaneId, entry: Entry<T>) -> Ticket {
        let key = (entry.deadline, self.arrivals);
        self.arrivals += 1;
        let lane = self.lanes.get_mut(&id).expect("open: who has its handle pushes");
        lane.candidates += entry.candidates;
        lane.entries.insert(key, entry);
        Ticket { lane: id, key }
    }

    /// Takes an entry back, if it still waits.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Entry<T>> {
        self.lanes.get_mut(&ticket.lane)?.remove(ticket.key)
    }

    /// Takes out the entries that cannot be in time any more.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Entry<T>> {
        let start = self.earliest_start(now);
        let late_in = |lane: &mut Lane<T>| {
            let late = |(_, e): &(&Key, &Entry<T>)| start + lane.pace.least(e.candidates, now) >= e.deadline;
            let keys: Vec<Key> = lane.entries.iter().filter(late).map(|(key, _)| *key).collect();
            keys.into_iter().filter_map(|key| lane.remove(key)).collect::<Vec<_>>()
        };
        self.lanes.values_mut().flat_map(late_in).collect()
    }

    /// What to do, once those that are [`Queue::late`] are out; `wanted` says whether there is a place for a batch.
    pub(super) fn next(&mut self, now: Instant, wanted: bool) -> Next<T> {
        let times: Vec<(LaneId, Instant)> =
            self.lanes.iter().filter_map(|(id, lane)| Some((*id, self.due(lane, now)?))).collect();
        let due: Vec<LaneId> = times.iter().filter(|(_, at)| *at <= now).map(|(id, _)| *id).collect();
        let first = due.iter().copied().min_by_key(|id| self.lanes[id].turn());
        let Some(first) = first.filter(|_| wanted) else {
            let due = times.into_iter().map(|(_, at)| at).filter(|_| wanted);
            return Next::Wait(due.chain(self.lanes.values().filter_map(|lane| lane.next_late(now))).min());
        };
        let mut entries = Vec::new();
        for (id, lane) in self.lanes.iter_mut().filter(|(id, _)| due.contains(id)) {
            lane.passed_over += 1;
            if *id == first {
                lane.passed_over = 0;
                entries = lane.take(&self.limits);
                self.ahead = lane.pace.usual(entries.iter().map(|entry| entry.candidates).sum());
            }
        }
        Next::Take { lane: first, entries }
    }

    /// The device has begun the batch that was made.
    pub(super) fn began(&mut self, lane: LaneId, candidates: usize, now: Instant) {
        self.given_up();
        let pace = self.lanes.get(&lane).map(|lane| &lane.pace);
        let least = pace.map_or(Duration::ZERO, |pace| pace.least(candidates, now));
        let usual = pace.map_or(Duration::ZERO, |pace| pace.usual(candidates));
        self.running = Some(Running { since: now, least, usual });
    }

    /// Nobody waits any more for the batch that was made.
    pub(super) fn given_up(&mut self) {
        self.ahead = Duration::ZERO;
    }

    /// The device has computed the batch that it began.
    pub(super) fn ended(&mut self, lane: LaneId, candidates: usize, now: Instant) {
        if let (Some(Running { since, .. }), Some(lane)) = (self.running.take(), self.lanes.get_mut(&lane)) {
            lane.pace.note(now, candidates, now.saturating_duration_since(since));
        }
    }

    /// The device has failed the batch that it began, which says nothing about its pace.
    pub(super) fn failed(&mut self) {
        self.running = None;
    }

    /// How long the device has to do with what it is at, what is made for it and what waits.
    pub(super) fn backlog(&self, now: Instant) -> Duration {
        let left = |r: Running| r.usual.saturating_sub(now.saturating_duration_since(r.since));
        let waiting: Duration = self.lanes.values().map(|lane| lane.pace.usual(lane.candidates)).sum();
        self.running.map_or(Duration::ZERO, left) + self.ahead + waiting
    }

    /// When a batch of this lane is to be made; none if nothing waits for it.
    fn due(&self, lane: &Lane<T>, now: Instant) -> Option<Instant> {
        let company = |e: &Entry<T>| {
            let most = e.deadline.saturating_duration_since(e.arrived) / COMPANY_PART;
            e.arrived + self.limits.max_delay.min(most)
        };
        let alone = lane.entries.values().map(company).min()?;
        let due = if lane.fills(&self.limits) { now } else { alone };
        let wanted = self.running.map(|r| r.since + r.least * PREFETCH_QUARTERS / 4);
        Some(wanted.map_or(due, |wanted| wanted.max(due)))
    }

    /// Before this the device does not begin anything new.
    fn earliest_start(&self, now: Instant) -> Instant {
        self.running.map_or(now, |running| (running.since + running.least).max(now))
    }
}

impl<T> Lane<T> {
    /// The smallest goes first. Who has been passed over too often is taken in the order in which that came about, for by
    /// deadlines alone a lane could find another before it for ever.
    fn turn(&self) -> (Reverse<u32>, Option<Key>) {
        let overdue = if self.passed_over < PASSES { 0 } else { self.passed_over };
        (Reverse(overdue), self.entries.keys().next().copied())
    }

    fn remove(&mut self, key: Key) -> Option<Entry<T>> {
        let entry = self.entries.remove(&key)?;
        self.candidates -= entry.candidates;
        if self.entries.is_empty() {
            self.passed_over = 0;
        }
        Some(entry)
    }

    /// Whether nothing more would fit a batch of those of the earliest deadlines.
    fn fills(&self, limits: &Limits) -> bool {
        self.entries.len() >= self.most_requests(limits) || self.candidates >= limits.max_candidates
    }

    fn most_requests(&self, limits: &Limits) -> usize {
        limits.max_requests.min(self.most_requests)
    }

    /// Those of the earliest deadlines, as many as fit, but one at least. The first that does not fit ends the batch: who
    /// is small does not overtake who is large.
    fn take(&mut self, limits: &Limits) -> Vec<Entry<T>> {
        let (mut taken, mut candidates) = (Vec::new(), 0);
        while let Some((&key, entry)) = self.entries.first_key_value() {
            candidates += entry.candidates;
            let fits = taken.len() < self.most_requests(limits) && candidates <= limits.max_candidates;
            if !fits && !taken.is_empty() {
                break;
            }
            taken.extend(self.remove(key));
        }
        taken
    }

    /// When the next of them is late, if the device had nothing else to do.
    fn next_late(&self, now: Instant) -> Option<Instant> {
        let at = |e: &Entry<T>| e.deadline.checked_sub(self.pace.least(e.candidates, now)).unwrap_or(now);
        self.entries.values().map(at).min()
    }
}

#[cfg(test)]
mod tests;
