//! `[worker]`: the guest of an edge or a region, and what it may use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::FileKind;
use crate::keys::Key;
use crate::limits::{INSTANCES, ITEM_TABLE_MIB, MAX_RANK_MS, MEMORY_MIB, number_within};
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[
    Key::text("wasm", "path", "the guest module"),
    Key::number_or("instances", &INSTANCES, "the machine's parallelism", "guests side by side, for each model"),
    Key::number(&MEMORY_MIB, "linear memory of one guest"),
    Key::number(
        &ITEM_TABLE_MIB,
        "of that, for what is computed of the catalog's items ahead; at most half of it is taken. A catalog that wants more is computed request by request",
    ),
    Key::number(&MAX_RANK_MS, "one call of the guest; longer: trapped"),
];

/// The guest and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    wasm: PathBuf,
    instances: Option<usize>,
    memory_mib: usize,
    item_table_mib: usize,
    max_rank: Duration,
}

impl Worker {
    pub(crate) fn read(mut section: Section<'_>) -> Option<Self> {
        let wasm =
            section.required("wasm", "the path of the guest module").and_then(|entry| entry.path(FileKind::File));
        let instances =
            section.optional("instances", number_within(&INSTANCES)).and_then(|entry| entry.number(INSTANCES));
        let memory_mib = section.number(&MEMORY_MIB);
        let item_table_mib = section.number(&ITEM_TABLE_MIB);
        let max_rank = section.millis(&MAX_RANK_MS);
        section.finish();
        Some(Self { wasm: wasm?, instances, memory_mib, item_table_mib, max_rank })
    }

    /// The guest module.
    pub fn wasm(&self) -> &Path {
        &self.wasm
    }

    /// How many guests run side by side; `None` leaves it to the machine's parallelism.
    pub fn instances(&self) -> Option<usize> {
        self.instances
    }

    /// The most linear memory that one guest may have, in MiB.
    pub fn memory_mib(&self) -> usize {
        self.memory_mib
    }

    /// The most of that memory for tables of items, in MiB.
    pub fn item_table_mib(&self) -> usize {
        self.item_table_mib
    }

    /// How long one call of the guest may take before it is trapped.
    pub fn max_rank(&self) -> Duration {
        self.max_rank
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{EDGE, accepted, refused};

    fn worker_of(text: &str) -> Worker {
        match accepted(text).role() {
            Role::Edge(pop) | Role::Region(pop) => pop.worker().clone(),
            Role::Origin(_) => panic!("not a pop"),
        }
    }

    #[test]
    fn a_worker_needs_no_more_than_its_module() {
        let worker = worker_of(EDGE);
        assert_eq!(worker.wasm(), Path::new("/etc/rung/worker.wasm"));
        assert_eq!(worker.instances(), None);
        assert_eq!(worker.memory_mib(), 128);
        assert_eq!(worker.max_rank(), Duration::from_millis(50));
    }

    #[test]
    fn a_worker_takes_the_limits_it_is_given() {
        let worker = worker_of(&format!("{EDGE}instances = 2\nmemory_mib = 64\nmax_rank_ms = 20"));
        assert_eq!((worker.instances(), worker.memory_mib()), (Some(2), 64));
        assert_eq!(worker.max_rank(), Duration::from_millis(20));
    }

    #[test]
    fn rejects_no_instances() {
        assert_eq!(
            refused(&format!("{EDGE}instances = 0")),
            ["rung.toml:13: worker.instances: is `0`, expected a whole number from 1 to 1024"]
        );
    }

    #[test]
    fn rejects_more_memory_than_a_guest_can_address() {
        assert_eq!(
            refused(&format!("{EDGE}memory_mib = 4_097")),
            ["rung.toml:13: worker.memory_mib: is `4097`, expected a whole number from 1 to 4096"]
        );
    }

    #[test]
    fn rejects_a_rank_deadline_of_no_time() {
        assert_eq!(
            refused(&format!("{EDGE}max_rank_ms = 0")),
            ["rung.toml:13: worker.max_rank_ms: is `0`, expected a whole number from 1 to 10000"]
        );
    }
}
