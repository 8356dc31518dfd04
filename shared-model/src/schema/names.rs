//! An ordered set of texts with lookup, compact enough for a catalog in the guest's memory: one text, one table.

use xxhash_rust::xxh64::xxh64;

/// Distinct texts, each with its position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    text: String,
    ends: Vec<u32>,
    /// Open addressing, a power of two long and at most half full: position + 1, or 0 for an empty slot.
    slots: Vec<u32>,
}

/// Why a text cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    /// It is there, at this position.
    Duplicate(usize),
    /// All of them together would pass 4 GiB.
    Full,
}

impl NameError {
    /// The same of a set whose positions follow `start` others.
    pub(crate) fn after(self, start: usize) -> Self {
        match self {
            Self::Duplicate(at) => Self::Duplicate(start + at),
            Self::Full => Self::Full,
        }
    }
}

impl Names {
    /// The number of texts.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds a text at the end.
    pub(crate) fn push(&mut self, name: &str) -> Result<(), NameError> {
        if let Some(at) = self.position(name) {
            return Err(NameError::Duplicate(at));
        }
        let end = u32::try_from(self.text.len() + name.len()).map_err(|_| NameError::Full)?;
        let position = u32::try_from(self.ends.len()).map_err(|_| NameError::Full)?;
        self.text.push_str(name);
        self.ends.push(end);
        if self.slots.len() < 2 * self.ends.len() {
            self.grow();
        } else {
            let slot = self.free_slot(name);
            self.slots[slot] = position + 1;
        }
        Ok(())
    }

    /// The position of a text.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        self.probe(name)
            .map(|slot| self.slots[slot])
            .take_while(|&entry| entry != 0)
            .map(|entry| entry as usize - 1)
            .find(|&at| self.name(at) == name)
    }

    /// The text at a position.
    pub(crate) fn name(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[start..self.ends[at] as usize]
    }

    /// Every text, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.name(at))
    }

    /// All texts, one after the other, and where each ends.
    pub(crate) fn parts(&self) -> (&str, &[u32]) {
        (&self.text, &self.ends)
    }

    fn grow(&mut self) {
        self.slots = vec![0; (4 * self.ends.len()).next_power_of_two()];
        for (at, entry) in (0..self.len()).zip(1..) {
            let slot = self.free_slot(self.name(at));
            self.slots[slot] = entry;
        }
    }

    fn free_slot(&self, name: &str) -> usize {
        self.probe(name).find(|&slot| self.slots[slot] == 0).expect("the table is at most half full")
    }

    /// Every slot, from the one of the text's hash on.
    fn probe(&self, name: &str) -> impl Iterator<Item = usize> {
        let mask = self.slots.len() - 1;
        // The low bits are as good as any other, and every machine has them in a usize.
        let start = (xxh64(name.as_bytes(), 0) & 0xffff_ffff) as usize;
        (0..self.slots.len()).map(move |i| start.wrapping_add(i) & mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_text_at_its_position_and_no_other() {
        let mut names = Names::default();
        for i in 0..1000 {
            assert_eq!(names.push(&format!("m{i}")), Ok(()));
        }
        assert_eq!(names.push("m7"), Err(NameError::Duplicate(7)));
        assert_eq!(names.push(""), Ok(()), "an empty text is one, too");
        for i in 0..1000 {
            assert_eq!(names.position(&format!("m{i}")), Some(i));
        }
        assert_eq!(names.position("m1000"), None);
        assert_eq!((names.position(""), names.name(1000)), (Some(1000), ""));
        assert_eq!(names.iter().nth(3), Some("m3"));
    }

    #[test]
    fn finds_nothing_in_an_empty_set() {
        assert_eq!(Names::default().position("m1"), None);
    }
}
