//! The door: who may send a body, and who may have work done. It refuses at once and never queues.
//!
//! Three things are bounded. *Bodies* in memory, by bytes: a request reserves room as its bytes arrive, so that slow
//! senders hold what they have sent and not what they might. *Requests* worked on, by number: the permit is taken once
//! the body is there, so that slow senders do not hold the places of those who have sent. What is *decoded* of them, by
//! bytes, from then to the answer. When no place is free, or no room for the length that a request declares, it is
//! refused before its body is read.

use std::sync::Arc;

use shared_model::limits::DECODED_TIMES;
use shared_model::wire::RankRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;
use crate::metrics::RefusedFor;

/// The unit in which memory for bodies is reserved.
const UNIT_BYTES: usize = 1024;
/// What a decoded request of a hundred ids and its copies take.
const USUAL_BYTES: usize = 32 << 10;
/// A decoded request, and as much again for what is made of it on its way: its bytes for a guest or the tier above.
const COPIES: usize = 2;

/// The door of a tier.
#[derive(Debug)]
pub(crate) struct Door {
    bodies: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
}

/// The right to something until it is dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

impl Door {
    /// A door with room for `max_in_flight` requests, for as many of the longest bodies of clients, and for at least
    /// one body of `longest` bytes. For what is decoded it has as much, and at least what any one request of a client
    /// takes, and as many of the usual size as there are places.
    pub(crate) fn new(limits: &Limits, longest: usize) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let each = |bytes: usize| units(bytes).saturating_mul(limits.max_in_flight);
        let dense = units(limits.max_body_bytes).saturating_mul(COPIES * DECODED_TIMES);
        Self {
            bodies: semaphore(each(limits.max_body_bytes).max(units(longest))),
            requests: semaphore(limits.max_in_flight),
            decoded: semaphore(each(limits.max_body_bytes.max(USUAL_BYTES)).max(dense)),
        }
    }

    /// Reserves one unit for a body of which nothing is there yet, if there is room now for the `declared` bytes.
    pub(crate) fn room_for_body(&self, declared: usize) -> Result<Room, RefusedFor> {
        if self.requests.available_permits() == 0 {
            return Err(RefusedFor::InFlight);
        }
        if self.bodies.available_permits() < units(declared) {
            return Err(RefusedFor::Bodies);
        }
        self.bodies.clone().try_acquire_owned().map(Room).map_err(|_| RefusedFor::Bodies)
    }

    /// Takes a place among the requests worked on.
    pub(crate) fn admit(&self) -> Result<Permit, RefusedFor> {
        self.requests.clone().try_acquire_owned().map_err(|_| RefusedFor::InFlight)
    }

    /// Reserves the memory that a decoded request takes.
    pub(crate) fn hold(&self, request: &RankRequest) -> Result<Permit, RefusedFor> {
        let units = u32::try_from(units(COPIES * request.memory())).map_err(|_| RefusedFor::Bodies)?;
        self.decoded.clone().try_acquire_many_owned(units).map_err(|_| RefusedFor::Bodies)
    }
}

/// Memory reserved for a body: what of it has arrived, rounded up to a unit.
#[derive(Debug)]
pub(crate) struct Room(Permit);

impl Room {
    /// Reserves what is missing to `bytes` in all; room once reserved stays.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), RefusedFor> {
        let missing = units(bytes).saturating_sub(self.0.num_permits());
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| RefusedFor::Bodies)?;
        let more = self.0.semaphore().clone().try_acquire_many_owned(missing).map_err(|_| RefusedFor::Bodies)?;
        self.0.merge(more);
        Ok(())
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use shared_model::wire::json::{self, JsonLimits};

    use super::*;

    fn door() -> Door {
        Door::new(&Limits { max_in_flight: 2, max_body_bytes: 4096, ..Limits::default() }, 4096)
    }

    /// Room for a body that has arrived.
    fn room(door: &Door, bytes: usize) -> Result<Room, RefusedFor> {
        let mut room = door.room_for_body(bytes)?;
        room.grow_to(bytes)?;
        Ok(room)
    }

    #[test]
    fn a_place_is_free_again_when_its_permit_is_dropped() {
        let door = door();
        let (first, _second) = (door.admit().expect("a place"), door.admit().expect("a place"));
        assert_eq!(door.admit().expect_err("full"), RefusedFor::InFlight);
        drop(first);
        assert!(door.admit().is_ok());
    }

    #[test]
    fn refuses_a_body_before_it_is_read_when_no_place_is_free() {
        let door = door();
        let _places = (door.admit().expect("a place"), door.admit().expect("a place"));
        assert_eq!(door.room_for_body(1).expect_err("full"), RefusedFor::InFlight);
    }

    #[test]
    fn bodies_are_bounded_by_their_sum_and_not_by_their_number() {
        let door = door();
        let short: Vec<_> = (0..8).map(|_| room(&door, 1000).expect("room")).collect();
        assert_eq!(room(&door, 1).expect_err("full"), RefusedFor::Bodies);
        drop(short);
        let _long = (room(&door, 4096).expect("room"), room(&door, 4096).expect("room"));
        assert_eq!(room(&door, 1).expect_err("full"), RefusedFor::Bodies);
    }

    #[test]
    fn a_body_holds_what_has_arrived_and_not_what_is_declared() {
        let door = door();
        let mut slow: Vec<_> = (0..4).map(|_| door.room_for_body(4096).expect("room")).collect();
        slow.iter_mut().for_each(|room| room.grow_to(1).expect("room"));
        let honest = room(&door, 4096).expect("room");
        assert_eq!(slow[0].grow_to(1025).expect_err("full"), RefusedFor::Bodies);
        drop(honest);
        slow[0].grow_to(1025).expect("room again");
    }

    #[test]
    fn a_body_declared_longer_than_the_room_left_is_refused_before_it_is_read() {
        let door = door();
        let _arrived = room(&door, 4097).expect("room");
        assert_eq!(door.room_for_body(4096).expect_err("no room"), RefusedFor::Bodies);
        assert!(door.room_for_body(3072).is_ok());
    }

    #[test]
    fn what_is_decoded_is_bounded_by_its_sum_and_not_by_its_number() {
        let door = door();
        let decoded = |body: &str| json::decode(body.as_bytes(), &JsonLimits::default()).expect("a request").request;
        let numbers = vec!["1"; 2000].join(",");
        let dense = decoded(&format!(r#"{{"model":"m","candidates":["a"],"user":{{"x":[{numbers}]}}}}"#));
        let usual = decoded(r#"{"model":"m","candidates":["a","b"]}"#);
        let mut held: Vec<_> = (0..3).map(|_| door.hold(&dense).expect("room for three")).collect();
        assert_eq!(door.hold(&dense).expect_err("and not for four"), RefusedFor::Bodies);
        let _usual = door.hold(&usual).expect("there is for a usual one");
        held.pop();
        let _again = door.hold(&dense).expect("there is again");
    }

    #[test]
    fn usual_requests_have_room_however_short_bodies_must_be() {
        let limits = Limits { max_in_flight: 200, max_body_bytes: 1024, ..Limits::default() };
        let door = Door::new(&limits, 1024);
        let ids: Vec<String> = (0..100).map(|i| format!(r#""m{i}""#)).collect();
        let body = format!(r#"{{"model":"m","candidates":[{}]}}"#, ids.join(","));
        let request = json::decode(body.as_bytes(), &JsonLimits::default()).expect("a request").request;
        let held: Result<Vec<_>, _> = (0..200).map(|_| door.hold(&request)).collect();
        held.expect("room for as many as there are places");
    }

    #[test]
    fn the_longest_body_has_room_alone() {
        let limits = Limits { max_in_flight: 1, max_body_bytes: 1024, ..Limits::default() };
        let door = Door::new(&limits, 4096);
        let _longest = room(&door, 4096).expect("room");
        assert_eq!(room(&door, 1).expect_err("full"), RefusedFor::Bodies);
    }
}
