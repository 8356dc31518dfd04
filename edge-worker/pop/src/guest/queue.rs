//! The bounded queue between the async side and the threads that own the instances.
//!
//! It never grows beyond its capacity by new jobs, and what nobody waits for any more gives up its place before a live
//! one is refused. It knows nothing of what it holds. Senders and receivers share no lock (crossbeam's channels have none
//! as long as nobody has to wait), but for those who find it full.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select_biased, unbounded};

/// A queue of `T` for many senders and many receiving threads.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Lane<T>,
    /// Those that come before all others.
    first: Lane<T>,
    /// Items that hold a place: never more than the capacity.
    places: AtomicUsize,
    capacity: usize,
    /// Held by who looks for places that nobody needs.
    sweeping: Mutex<()>,
    /// Gone once the queue is closed, of which `closed` learns.
    open: Mutex<Option<Sender<Infallible>>>,
    closed: Receiver<Infallible>,
}

#[derive(Debug)]
struct Lane<T> {
    push: Sender<T>,
    pop: Receiver<T>,
}

impl<T> Lane<T> {
    fn new() -> Self {
        let (push, pop) = unbounded();
        Self { push, pop }
    }

    fn push(&self, item: T) -> Result<(), T> {
        self.push.send(item).map_err(|unsent| unsent.0)
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let (open, closed) = bounded(1);
        Self {
            items: Lane::new(),
            first: Lane::new(),
            places: AtomicUsize::new(0),
            capacity,
            sweeping: Mutex::new(()),
            open: Mutex::new(Some(open)),
            closed,
        }
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// The item, when all places are taken by live ones or the queue is closed.
    pub(crate) fn push(&self, item: T, live: impl Fn(&T) -> bool) -> Result<(), T> {
        if self.is_closed() {
            return Err(item);
        }
        if !self.take_place() && !self.take_place_of_the_dead(live) {
            return Err(item);
        }
        self.put(&self.items, item)
    }

    /// Puts an item before those of [`Self::push`], whatever the capacity: it had a place before, and has waited elsewhere.
    ///
    /// # Errors
    /// The item, when the queue is closed.
    pub(crate) fn push_first(&self, item: T) -> Result<(), T> {
        if self.is_closed() { Err(item) } else { self.put(&self.first, item) }
    }

    /// Waits for the next item; `None` once the queue is closed.
    pub(crate) fn pop(&self) -> Option<T> {
        // Of several that are ready the first is taken.
        select_biased! {
            recv(self.closed) -> _ => None,
            recv(self.first.pop) -> item => item.ok(),
            recv(self.items.pop) -> item => {
                self.places.fetch_sub(1, Ordering::Relaxed);
                item.ok()
            }
        }
    }

    /// Waits for the queue to be closed, at most for `time`.
    pub(crate) fn is_closed_after(&self, time: Duration) -> bool {
        self.closed.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// Drops what is in it, and lets every receiver go.
    pub(crate) fn close(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.drain();
    }

    fn put(&self, lane: &Lane<T>, item: T) -> Result<(), T> {
        lane.push(item)?;
        // Whoever closes it meanwhile may not have seen the item.
        if self.is_closed() {
            self.drain();
        }
        Ok(())
    }

    fn drain(&self) {
        for lane in [&self.items, &self.first] {
            lane.pop.try_iter().for_each(drop);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn take_place(&self) -> bool {
        let free = |taken: usize| (taken < self.capacity).then_some(taken + 1);
        self.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok()
    }

    /// Goes through all that is waiting once, if there is still no place, and puts the live ones behind each other again.
    /// Those that receivers take meanwhile may be before their turn: a full queue keeps its order but roughly.
    fn take_place_of_the_dead(&self, live: impl Fn(&T) -> bool) -> bool {
        let _one = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        if self.take_place() {
            return true;
        }
        for item in self.items.pop.try_iter().take(self.items.pop.len()) {
            if live(&item) {
                // The receiver is this queue's own: it is there.
                let _ = self.items.push(item);
            } else {
                self.places.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.take_place()
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
    fn many_threads_get_each_item_once() {
        const EACH: u32 = 2000;
        let queue = &Queue::new(8);
        let got = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(item) = queue.pop() {
                        got.lock().unwrap().push(item);
                    }
                });
            }
            let senders = [0, 1, 2].map(|sender| {
                scope.spawn(move || {
                    for i in 0..EACH {
                        let item = sender * EACH + i;
                        // Now and then before the others; where there is no place, until there is one.
                        while (if i % 7 == 0 { queue.push_first(item) } else { queue.push(item, |_| true) }).is_err() {
                            std::thread::yield_now();
                        }
                    }
                })
            });
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            while got.lock().unwrap().len() < 3 * EACH as usize {
                std::thread::yield_now();
            }
            queue.close();
        });
        let mut got = got.into_inner().unwrap();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..3 * EACH));
        assert_eq!(queue.places.load(Ordering::Relaxed), 0);
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
