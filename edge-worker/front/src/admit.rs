//! The door: who may send a body, and who may have work done. It refuses at once and never queues.
//!
//! Two things are bounded. *Bodies* in memory, by bytes: a request reserves its length before it is read. *Requests*
//! worked on, by number: the permit is taken once the body is there, so that slow senders do not hold the places of
//! those who have sent. When no place is free, a request is refused before its body is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;
use crate::metrics::RefusedFor;

/// The unit in which memory for bodies is reserved.
const UNIT_BYTES: usize = 1024;

/// The door of a tier.
#[derive(Debug)]
pub(crate) struct Door {
    bodies: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// The right to something until it is dropped.
pub(crate) type Permit = OwnedSemaphorePermit;

impl Door {
    /// A door with room for `max_in_flight` requests, and for as many of the longest bodies.
    pub(crate) fn new(limits: &Limits) -> Self {
        let units = units(limits.max_body_bytes).saturating_mul(limits.max_in_flight);
        Self {
            bodies: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            requests: Arc::new(Semaphore::new(limits.max_in_flight.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Reserves memory for a body of at most `bytes`.
    pub(crate) fn room_for_body(&self, bytes: usize) -> Result<Permit, RefusedFor> {
        if self.requests.available_permits() == 0 {
            return Err(RefusedFor::InFlight);
        }
        let units = u32::try_from(units(bytes)).map_err(|_| RefusedFor::Bodies)?;
        self.bodies.clone().try_acquire_many_owned(units).map_err(|_| RefusedFor::Bodies)
    }

    /// Takes a place among the requests worked on.
    pub(crate) fn admit(&self) -> Result<Permit, RefusedFor> {
        self.requests.clone().try_acquire_owned().map_err(|_| RefusedFor::InFlight)
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new(&Limits { max_in_flight: 2, max_body_bytes: 4096, ..Limits::default() })
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
        let short: Vec<_> = (0..8).map(|_| door.room_for_body(1000).expect("room")).collect();
        assert_eq!(door.room_for_body(1).expect_err("full"), RefusedFor::Bodies);
        drop(short);
        let _long = (door.room_for_body(4096).expect("room"), door.room_for_body(4096).expect("room"));
        assert_eq!(door.room_for_body(1).expect_err("full"), RefusedFor::Bodies);
    }
}
