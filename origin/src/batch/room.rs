//! The room before the device, by candidates: refused at once when there is none, never a second queue.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// Room for so many candidates.
#[derive(Debug)]
pub(super) struct Room {
    permits: Arc<Semaphore>,
    size: u32,
    metrics: Metrics,
}

/// The room that a request takes until it is dropped.
#[derive(Debug)]
pub struct Place {
    permit: OwnedSemaphorePermit,
    metrics: Metrics,
}

impl Room {
    pub(super) fn new(candidates: usize, metrics: Metrics) -> Self {
        let size = u32::try_from(candidates.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { permits: Arc::new(Semaphore::new(size as usize)), size, metrics }
    }

    /// A request larger than the room has a place when it is empty: it would never have one otherwise.
    pub(super) fn enter(&self, candidates: usize) -> Option<Place> {
        let places = u32::try_from(candidates).unwrap_or(u32::MAX).min(self.size);
        let permit = self.permits.clone().try_acquire_many_owned(places).ok()?;
        self.metrics.waiting(permit.num_permits());
        Some(Place { permit, metrics: self.metrics.clone() })
    }
}

impl Place {
    /// Gives back what is more than so many candidates need.
    pub(super) fn shrink_to(&mut self, candidates: usize) {
        let rest = self.permit.num_permits().saturating_sub(candidates);
        if let Some(rest) = self.permit.split(rest) {
            self.metrics.waiting_no_more(rest.num_permits());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.waiting_no_more(self.permit.num_permits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    fn room(candidates: usize) -> Room {
        let mut registry = front::metrics::registry(shared_model::wire::Tier::Origin);
        Room::new(candidates, Metrics::register(&mut registry, &Device::cpu()))
    }

    #[test]
    fn candidates_are_bounded_by_their_sum() {
        let room = room(100);
        let (many, _few) = (room.enter(90).unwrap(), room.enter(10).unwrap());
        assert!(room.enter(1).is_none());
        drop(many);
        assert!(room.enter(91).is_none() && room.enter(90).is_some());
    }

    #[test]
    fn a_request_larger_than_the_room_waits_alone() {
        let room = room(10);
        let large = room.enter(1000).unwrap();
        assert!(room.enter(1).is_none());
        drop(large);
        let small = room.enter(1).unwrap();
        assert!(room.enter(1000).is_none());
        drop(small);
        assert!(room.enter(1000).is_some());
    }

    #[test]
    fn what_is_excluded_gives_its_room_back() {
        let room = room(10);
        let mut place = room.enter(10).unwrap();
        place.shrink_to(4);
        assert!(room.enter(7).is_none() && room.enter(6).is_some());
        place.shrink_to(9);
        assert!(room.enter(7).is_none(), "it never grows");
    }
}
