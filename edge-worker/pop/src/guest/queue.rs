//! The bounded queue between the async side and the threads that own the instances.
//!
//! It never grows beyond its capacity by new jobs, and what nobody waits for any more gives up its place before a live
//! one is refused. It knows nothing of what it holds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue of `T` for many senders and many receiving threads.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// One waiter is woken for one item, so none but receivers wait here.
    changed: Condvar,
    /// Where the others wait.
    closed: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), closed: Condvar::new(), capacity }
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// The item, when all places are taken by live ones or the queue is closed.
    pub(crate) fn push(&self, item: T, live: impl Fn(&T) -> bool) -> Result<(), T> {
        let mut state = self.state();
        if state.items.len() >= self.capacity {
            state.items.retain(live);
        }
        if state.closed || state.items.len() >= self.capacity {
            return Err(item);
        }
        state.items.push_back(item);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts an item before all others, whatever the capacity: it had a place before, and has waited elsewhere.
    ///
    /// # Errors
    /// The item, when the queue is closed.
    pub(crate) fn push_first(&self, item: T) -> Result<(), T> {
        let mut state = self.state();
        if state.closed {
            return Err(item);
        }
        state.items.push_front(item);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the queue to be closed, at most for `time`.
    pub(crate) fn is_closed_after(&self, time: Duration) -> bool {
        let waited = self.closed.wait_timeout_while(self.state(), time, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Drops what is in it, and lets every receiver go.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.items.clear();
        self.changed.notify_all();
        self.closed.notify_all();
    }

    /// No code of others runs under the lock but `T`'s drop, so a poisoned state is a sound one.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_has_no_place() {
        let queue = Queue::new(2);
        assert_eq!(queue.push(1, |_| true), Ok(()));
        assert_eq!(queue.push(2, |_| true), Ok(()));
        assert_eq!(queue.push(3, |_| true), Err(3));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(4, |_| true), Ok(()));
    }

    #[test]
    fn what_nobody_waits_for_gives_up_its_place() {
        let queue = Queue::new(2);
        assert_eq!((queue.push(1, |_| true), queue.push(2, |_| true)), (Ok(()), Ok(())));
        assert_eq!(queue.push(3, |&item| item != 1), Ok(()));
        assert_eq!((queue.pop(), queue.pop()), (Some(2), Some(3)));
    }

    #[test]
    fn what_had_a_place_before_comes_first() {
        let queue = Queue::new(1);
        assert_eq!((queue.push(1, |_| true), queue.push_first(2)), (Ok(()), Ok(())));
        assert_eq!((queue.pop(), queue.pop()), (Some(2), Some(1)));
    }

    #[test]
    fn an_item_wakes_a_receiver_and_not_who_waits_for_the_end() {
        let queue = &Queue::new(1);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let end = scope.spawn(|| queue.is_closed_after(Duration::from_secs(60)));
            // Long enough for each to wait, in this order.
            std::thread::sleep(Duration::from_millis(50));
            scope.spawn(move || tell.send(queue.pop()));
            std::thread::sleep(Duration::from_millis(50));
            let pushed = queue.push(1, |_| true);
            let got = told.recv_timeout(Duration::from_secs(10));
            queue.close();
            assert_eq!((pushed, got), (Ok(()), Ok(Some(1))));
            assert!(end.join().expect("no panic"));
        });
    }

    #[test]
    fn a_closed_queue_lets_its_receivers_go() {
        let queue = Queue::<u32>::new(1);
        std::thread::scope(|scope| {
            let waiting = [(); 2].map(|()| scope.spawn(|| queue.pop()));
            queue.close();
            for thread in waiting {
                assert_eq!(thread.join().expect("no panic"), None);
            }
        });
        assert_eq!((queue.push(1, |_| true), queue.push_first(2)), (Err(1), Err(2)));
        assert!(queue.is_closed_after(Duration::from_secs(60)), "at once");
    }
}
