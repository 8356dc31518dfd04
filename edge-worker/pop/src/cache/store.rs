//! The answers themselves: which are there, how old they are, and which go when there is no room. Pure; `now` is an
//! argument.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use shared_model::wire::{Answer, Ranked};

use super::CacheSettings;
use super::key::Key;

/// What an entry weighs beside its answer: the key twice, the list's links, the table's slots.
const ENTRY_BYTES: usize = 256;

/// Answers by key, bounded by their bytes.
pub(super) struct Store {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    settings: CacheSettings,
}

struct Entry {
    answer: Arc<Answer>,
    /// When it was computed.
    at: Instant,
    bytes: usize,
}

/// An answer that is there.
pub(super) struct Kept {
    pub(super) answer: Arc<Answer>,
    pub(super) age: Duration,
    pub(super) fresh: bool,
}

impl Store {
    pub(super) fn new(settings: CacheSettings) -> Self {
        // The bound is on bytes, which an LRU list does not know.
        Self { entries: LruCache::unbounded(), bytes: 0, settings }
    }

    /// The answer under a key, if it may still be given.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<Kept> {
        let entry = self.entries.get(key)?;
        let age = now.saturating_duration_since(entry.at);
        if age >= self.settings.ttl + self.settings.stale {
            self.remove(key);
            return None;
        }
        Some(Kept { answer: entry.answer.clone(), age, fresh: age < self.settings.ttl })
    }

    /// Keeps an answer, and lets go of those least recently asked for until all fit. One that would not fit alone is
    /// not kept.
    pub(super) fn keep(&mut self, key: Key, answer: Arc<Answer>, now: Instant) {
        self.remove(&key);
        let bytes = weight(&answer);
        if bytes > self.settings.max_bytes {
            return;
        }
        while self.bytes + bytes > self.settings.max_bytes {
            let (_, oldest) = self.entries.pop_lru().expect("bytes are those of entries");
            self.bytes -= oldest.bytes;
        }
        self.bytes += bytes;
        self.entries.put(key, Entry { answer, at: now, bytes });
    }

    /// The bytes of all answers.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, key: &Key) {
        if let Some(gone) = self.entries.pop(key) {
            self.bytes -= gone.bytes;
        }
    }
}

/// The bytes that an answer holds, its own and those it points to.
fn weight(answer: &Answer) -> usize {
    let Answer { model, version, variant, ranked, agreement, warnings, explanation, .. } = answer;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
    let entries: usize = ranked.iter().map(|entry| entry.id.capacity()).sum();
    let warned: usize = warnings.iter().map(|warning| size_of::<String>() + warning.capacity()).sum();
    let class = agreement.as_ref().map_or(0, |agreement| agreement.class.capacity());
    ENTRY_BYTES
        + size_of::<Answer>()
        + model.capacity()
        + version.capacity()
        + text(variant)
        + text(explanation)
        + ranked.capacity() * size_of::<Ranked>()
        + entries
        + class
        + warned
}

#[cfg(test)]
mod tests {
    use shared_model::wire::{Digest, Stamp};

    use super::*;
    use crate::cache::tests::{SETTINGS, answer};
    use crate::sample;

    fn key(n: u8) -> Key {
        Key::of(&mut sample::request(1.0), Stamp { bundle: Digest([n; 32]), catalog: 0 })
    }

    fn shared() -> Arc<Answer> {
        Arc::new(answer("7"))
    }

    #[test]
    fn an_answer_is_fresh_then_stale_then_gone() {
        let (mut store, now) = (Store::new(SETTINGS), Instant::now());
        store.keep(key(1), shared(), now);
        let ms = Duration::from_millis;
        for (after, fresh) in
            [(0, Some(true)), (999, Some(true)), (1000, Some(false)), (2999, Some(false)), (3000, None)]
        {
            let kept = store.find(&key(1), now + ms(after));
            assert_eq!(kept.as_ref().map(|kept| kept.fresh), fresh, "after {after} ms");
            assert!(kept.is_none_or(|kept| kept.age == ms(after)));
        }
        assert_eq!(store.bytes(), 0, "what is too old is let go of");
    }

    #[test]
    fn the_least_recently_asked_for_goes_first() {
        let each = weight(&shared());
        let settings = CacheSettings { max_bytes: 2 * each, ..SETTINGS };
        let (mut store, now) = (Store::new(settings), Instant::now());
        store.keep(key(1), shared(), now);
        store.keep(key(2), shared(), now);
        assert!(store.find(&key(1), now).is_some());
        store.keep(key(3), shared(), now);
        let there = [1, 2, 3].map(|n| store.find(&key(n), now).is_some());
        assert_eq!((there, store.bytes()), ([true, false, true], 2 * each));
    }

    #[test]
    fn an_answer_kept_again_is_counted_once() {
        let (mut store, now) = (Store::new(SETTINGS), Instant::now());
        store.keep(key(1), shared(), now);
        store.keep(key(1), shared(), now + Duration::from_secs(1));
        assert_eq!(store.bytes(), weight(&shared()));
        assert!(store.find(&key(1), now + Duration::from_secs(1)).is_some_and(|kept| kept.fresh));
    }

    #[test]
    fn an_answer_larger_than_all_the_room_is_not_kept_and_pushes_nobody_out() {
        let settings = CacheSettings { max_bytes: weight(&shared()), ..SETTINGS };
        let (mut store, now) = (Store::new(settings), Instant::now());
        store.keep(key(1), shared(), now);
        let mut long = answer("7");
        long.warnings.push("x".repeat(1000));
        store.keep(key(2), Arc::new(long), now);
        assert!(store.find(&key(1), now).is_some() && store.find(&key(2), now).is_none());
    }

    #[test]
    fn the_weight_is_at_least_the_bytes_that_are_held() {
        let few = weight(&answer("7"));
        let mut many = answer("7");
        let entry = many.ranked[0].clone();
        many.ranked.extend(std::iter::repeat_n(entry, 1000));
        assert!(weight(&many) >= few + 1000 * (size_of::<Ranked>() + many.ranked[0].id.len()));
    }
}
