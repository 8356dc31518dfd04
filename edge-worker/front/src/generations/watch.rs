//! The threads that look at the folders now and then.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{GRACE, Generations, Loader};

/// When a watch wakes: to look at the folder, or because a generation may have been kept long enough. Pure: `now` is an
/// argument.
#[derive(Debug)]
struct Rounds {
    poll: Duration,
    next: Instant,
}

impl Rounds {
    fn new(poll: Duration, now: Instant) -> Self {
        Self { poll, next: now + poll }
    }

    /// How long to sleep.
    fn pause(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now).min(GRACE)
    }

    /// Whether to look at the folder now.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.poll;
        }
        due
    }
}

impl<L: Loader> Generations<L> {
    /// Starts a thread for each model. It ends when nobody has the generations any more.
    pub(super) fn watch(self: &Arc<Self>) {
        for (name, slot) in &self.slots {
            let (name, poll, all) = (name.clone(), slot.source.poll, Arc::downgrade(self));
            let mut rounds = Rounds::new(poll, Instant::now());
            let body = move || loop {
                thread::sleep(rounds.pause(Instant::now()));
                let Some(all) = all.upgrade() else { return };
                let slot = &all.slots[&name];
                let gone = slot.held_mut().expire(Instant::now());
                drop(gone);
                if rounds.is_due(Instant::now()) {
                    all.poll(slot);
                }
            };
            let started = thread::Builder::new().name("bundle-watch".to_owned()).spawn(body);
            if let Err(error) = started {
                tracing::error!(%error, "a bundle's folder is not watched: changes take a POST /v1/reload");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_looked_at_rarely_does_not_keep_generations_for_longer() {
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        let (mut rounds, mut now) = (Rounds::new(hour, start), start);
        let mut looks = Vec::new();
        for _ in 0..300 {
            assert!(rounds.pause(now) <= GRACE);
            now += rounds.pause(now);
            if rounds.is_due(now) {
                looks.push(now - start);
            }
        }
        assert_eq!(looks, [hour, 2 * hour]);
    }

    #[test]
    fn a_folder_that_is_looked_at_often_is() {
        let (start, often) = (Instant::now(), Duration::from_millis(250));
        let mut rounds = Rounds::new(often, start);
        assert_eq!(rounds.pause(start), often);
        assert!(!rounds.is_due(start + often / 2) && rounds.is_due(start + often));
    }
}
