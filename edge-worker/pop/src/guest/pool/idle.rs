//! Guests at rest, and those who wait for one. It knows nothing of what a guest is.
//!
//! ```text
//! take ─┬─ one is free ────────────────────────────────▶ slot
//!       └─ a place ─ its turn among the new ─┐
//! take_first ────────────────────────────────┴─ free ──▶ slot
//! ```

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

thread_local! {
    /// Where this thread found its last guest, whose memory its core may still have.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Slots for as many guests as there are at most. Takers that find one share no lock but that of its slot.
pub(super) struct Idle<T> {
    slots: Box<[Mutex<Option<T>>]>,
    /// The guests in slots that nobody is promised.
    free: Semaphore,
    /// New ones wait behind each other here, so that who comes back waits for one of them at most.
    turn: Semaphore,
    /// Of new ones that wait.
    places: Semaphore,
}

impl<T> Idle<T> {
    /// Takes the guests, each to its slot; `places` may wait for one.
    pub(super) fn new(guests: Vec<T>, places: usize) -> Self {
        let free = Semaphore::new(guests.len());
        let slots = guests.into_iter().map(|guest| Mutex::new(Some(guest))).collect();
        // All that a semaphore can count, where that is less.
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { slots, free, turn: Semaphore::new(1), places }
    }

    /// Waits for a guest, if there is a place to wait; gives it with its slot.
    pub(super) async fn take(&self) -> Option<(usize, T)> {
        if let Ok(one) = self.free.try_acquire() {
            one.forget();
            return Some(self.find());
        }
        let _place = self.places.try_acquire().ok()?;
        let _turn = self.turn.acquire().await.ok()?;
        self.take_first().await
    }

    /// As [`Self::take`], before those who wait there.
    pub(super) async fn take_first(&self) -> Option<(usize, T)> {
        self.free.acquire().await.ok()?.forget();
        Some(self.find())
    }

    /// Puts a guest into the slot from which one was taken.
    pub(super) fn put(&self, slot: usize, guest: T) {
        *self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner) = Some(guest);
        self.free.add_permits(1);
    }

    /// What was promised: there are never fewer guests in slots than promises. One that is put back behind this search, while
    /// another takes the one before it, is found in the next round.
    fn find(&self) -> (usize, T) {
        let first = LAST.get();
        loop {
            for step in 0..self.slots.len() {
                let slot = (first + step) % self.slots.len();
                let found = self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(guest) = found {
                    LAST.set(slot);
                    return (slot, guest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What one who asks now and once is told.
    fn now<F: Future>(taking: F) -> Poll<F::Output> {
        pin!(taking).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_finds_no_guest_and_no_place_is_refused() {
        let idle = Idle::new(vec!['a', 'b'], 1);
        assert!(matches!(now(idle.take()), Poll::Ready(Some(_))));
        assert!(matches!(now(idle.take()), Poll::Ready(Some(_))));
        let mut waiting = pin!(idle.take());
        assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
        assert_eq!(now(idle.take()), Poll::Ready(None), "its place is taken");
    }

    #[test]
    fn who_waits_no_more_gives_up_its_place() {
        let idle = Idle::new(vec!['a'], 1);
        assert_eq!(now(idle.take()), Poll::Ready(Some((0, 'a'))));
        for _ in 0..3 {
            assert_eq!(now(idle.take()), Poll::Pending, "and dropped");
        }
        idle.put(0, 'b');
        assert_eq!(now(idle.take()), Poll::Ready(Some((0, 'b'))));
    }

    #[test]
    fn who_comes_back_waits_for_no_more_than_one_new() {
        let idle = Idle::new(vec!['a'], 8);
        assert_eq!(now(idle.take()), Poll::Ready(Some((0, 'a'))));
        let context = &mut Context::from_waker(Waker::noop());
        let mut first = pin!(idle.take());
        let mut second = pin!(idle.take());
        assert!(first.as_mut().poll(context).is_pending() && second.as_mut().poll(context).is_pending());
        // Without a place: it had one before.
        let mut back = pin!(idle.take_first());
        assert!(back.as_mut().poll(context).is_pending());
        idle.put(0, 'a');
        assert_eq!(first.as_mut().poll(context), Poll::Ready(Some((0, 'a'))));
        idle.put(0, 'b');
        assert!(second.as_mut().poll(context).is_pending());
        assert_eq!(back.as_mut().poll(context), Poll::Ready(Some((0, 'b'))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_guest_is_had_by_one_at_a_time_and_nobody_is_forgotten() {
        const TAKERS: u32 = 16;
        const EACH: u32 = 500;
        let idle = std::sync::Arc::new(Idle::new(vec![0_u32; 3], TAKERS as usize));
        let out = std::sync::Arc::new(AtomicU32::new(0));
        let takers = (0..TAKERS).map(|taker| {
            let (idle, out) = (idle.clone(), out.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let taken = if taker % 4 == 0 { idle.take_first().await } else { idle.take().await };
                    let (slot, uses) = taken.expect("there are places for all");
                    assert!(out.fetch_add(1, Ordering::SeqCst) < 3, "more are out than there are");
                    if uses % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    out.fetch_sub(1, Ordering::SeqCst);
                    idle.put(slot, uses + 1);
                }
            })
        });
        for taker in takers.collect::<Vec<_>>() {
            taker.await.expect("no panic");
        }
        let uses: u32 = (0..3)
            .map(|_| now(idle.take()).map(|taken| taken.map_or(0, |(_, uses)| uses)))
            .map(|uses| match uses {
                Poll::Ready(uses) => uses,
                Poll::Pending => 0,
            })
            .sum();
        assert_eq!(uses, TAKERS * EACH);
    }
}
