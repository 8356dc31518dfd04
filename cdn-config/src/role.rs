//! What a tier is, and the sections that only that kind of tier has.

use std::fmt;
use std::time::Duration;

use crate::section::{Entry, Section};
use crate::{Batching, Cache, Device, FaultKind, Limits, Precision, Upstream, Worker};

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The POP, nearest to the client.
    Edge,
    /// The region, between the POPs and the origin.
    Region,
    /// The last one up.
    Origin,
}

impl Tier {
    pub(crate) fn read(root: &mut Section<'_>) -> Option<Self> {
        let choices = [Self::Edge, Self::Region, Self::Origin].map(|tier| (tier.name(), tier));
        root.required("tier", "`edge`, `region` or `origin`").and_then(|entry| entry.one_of(&choices))
    }

    /// How long requests in flight may take to end once the tier was asked to stop.
    pub fn drain_patience(self) -> Duration {
        match self {
            Self::Edge | Self::Region => Duration::from_secs(15),
            // What came up from below has waited already; still less than an orchestrator's usual 30 s.
            Self::Origin => Duration::from_secs(25),
        }
    }

    /// The tier's name, as in `rung.toml` and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Region => "region",
            Self::Origin => "origin",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tier, with what only that tier has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read by `pop`.
    Edge(Pop),
    /// Read by `pop`.
    Region(Pop),
    /// Read by `origin`.
    Origin(Origin),
}

impl Role {
    pub(crate) fn read(root: &mut Section<'_>, tier: Option<Tier>, limits: &Limits) -> Option<Self> {
        match tier {
            Some(Tier::Edge) => Pop::read(root, Tier::Edge).map(Self::Edge),
            Some(Tier::Region) => Pop::read(root, Tier::Region).map(Self::Region),
            Some(Tier::Origin) => Some(Self::Origin(Origin::read(root, limits))),
            None => {
                read_for_faults(root, limits);
                None
            }
        }
    }

    /// The tier alone.
    pub fn tier(&self) -> Tier {
        match self {
            Self::Edge(_) => Tier::Edge,
            Self::Region(_) => Tier::Region,
            Self::Origin(_) => Tier::Origin,
        }
    }
}

/// What an edge or a region has: a worker to rank with, and perhaps a tier above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pop {
    worker: Worker,
    upstream: Option<Upstream>,
    cache: Cache,
}

impl Pop {
    fn read(root: &mut Section<'_>, tier: Tier) -> Option<Self> {
        for origin_only in ["device", "batching"] {
            refuse(root, origin_only, tier, &[Tier::Origin]);
        }
        let worker = root.required("worker", "a section with `wasm`").and_then(Entry::section).and_then(Worker::read);
        let upstream = root.optional("upstream", "a section").and_then(Entry::section).and_then(Upstream::read);
        let cache = Cache::read(root.defaulted("cache"));
        Some(Self { worker: worker?, upstream, cache })
    }

    /// The guest and what it may use.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The tier above; `None` when this tier has nobody to ask.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// The answers that it keeps.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// What an origin has: a device to rank on, and the batches it is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    device: Device,
    precision: Precision,
    batching: Batching,
}

impl Origin {
    fn read(root: &mut Section<'_>, limits: &Limits) -> Self {
        for pop_only in ["worker", "upstream", "cache"] {
            refuse(root, pop_only, Tier::Origin, &[Tier::Edge, Tier::Region]);
        }
        let (device, precision) = Device::read(root.defaulted("device"));
        Self { device, precision, batching: Batching::read(root.defaulted("batching"), limits) }
    }

    /// Where the model runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// How a GPU multiplies matrices there.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How requests are put together for it.
    pub fn batching(&self) -> &Batching {
        &self.batching
    }
}

/// A section of another tier is one fault, whatever is in it.
fn refuse(root: &mut Section<'_>, name: &'static str, tier: Tier, belongs: &'static [Tier]) {
    if root.optional(name, "").is_some() {
        root.fault(name, FaultKind::Misplaced { tier, belongs });
    }
}

/// Without a tier any of the sections may be right: those that are there are read for what is wrong within them.
fn read_for_faults(root: &mut Section<'_>, limits: &Limits) {
    root.optional("worker", "a section").and_then(Entry::section).map(Worker::read);
    root.optional("upstream", "a section").and_then(Entry::section).map(Upstream::read);
    root.optional("cache", "a section").and_then(Entry::section).map(Cache::read);
    root.optional("device", "a section").and_then(Entry::section).map(Device::read);
    root.optional("batching", "a section").and_then(Entry::section).map(|section| Batching::read(section, limits));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, ORIGIN, accepted, refused};

    #[test]
    fn a_tier_is_known_by_its_name() {
        assert_eq!(accepted(EDGE).tier(), Tier::Edge);
        assert_eq!(accepted(&EDGE.replace("edge", "region")).tier(), Tier::Region);
        assert_eq!(accepted(ORIGIN).tier(), Tier::Origin);
    }

    #[test]
    fn rejects_an_unknown_tier() {
        let text = EDGE.replace("tier = \"edge\"", "tier = \"pop\"");
        assert_eq!(refused(&text), ["rung.toml:2: tier: is `pop`, expected `edge`, `region` or `origin`"]);
    }

    #[test]
    fn rejects_a_missing_tier_and_still_reads_the_sections_of_any() {
        let text = EDGE.replace("tier = \"edge\"", "").replace("wasm", "wasn");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:1: tier: missing, expected `edge`, `region` or `origin`",
                "rung.toml:11: worker.wasm: missing, expected the path of the guest module",
                "rung.toml:12: worker.wasn: unknown key, did you mean `wasm`?",
            ]
        );
    }

    #[test]
    fn rejects_a_pop_without_a_worker() {
        let text = EDGE.replace("[worker]\nwasm = \"worker.wasm\"", "");
        assert_eq!(refused(&text), ["rung.toml:1: worker: missing, expected a section with `wasm`"]);
    }

    #[test]
    fn rejects_a_device_and_batches_at_the_edge() {
        let text = format!("{EDGE}\n[device]\nuse = 3\n[batching]\n");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:14: device: not a section of tier `edge`, expected only at `origin`",
                "rung.toml:16: batching: not a section of tier `edge`, expected only at `origin`",
            ]
        );
    }

    #[test]
    fn rejects_a_worker_and_an_upstream_at_the_origin() {
        let text = format!("{ORIGIN}\n[worker]\n[upstream]\n");
        assert_eq!(
            refused(&text),
            [
                "rung.toml:11: worker: not a section of tier `origin`, expected only at `edge` and `region`",
                "rung.toml:12: upstream: not a section of tier `origin`, expected only at `edge` and `region`",
            ]
        );
    }

    #[test]
    fn rejects_a_section_written_as_a_value() {
        let text = EDGE.replace("[listen]", "upstream = true\n[listen]");
        assert_eq!(refused(&text), ["rung.toml:4: upstream: is of type boolean, expected a section"]);
    }
}
