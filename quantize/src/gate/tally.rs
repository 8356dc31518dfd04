//! Counts requests by class under a policy.

use shared_model::gate::Class;
use shared_model::wire::Tier;

use super::trace::{Look, Steps, Trace};

/// Requests of a class, and those of them that are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests.
    pub answered: u64,
    /// With another top-k set than the reference.
    pub errors: u64,
}

/// The classes that requests fall in, by where they enter the ladder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [Count; Tally::CLASSES.len()],
}

impl Tally {
    /// Entry and class, in the order of the ladder.
    pub const CLASSES: [(Tier, Class); 6] = [
        (Tier::Edge, Class::Edge),
        (Tier::Edge, Class::Region),
        (Tier::Edge, Class::MergedRegion),
        (Tier::Edge, Class::MergedOrigin),
        (Tier::Region, Class::Region),
        (Tier::Region, Class::MergedOrigin),
    ];

    /// What a policy makes of requests.
    pub(crate) fn of<'a>(steps: [Steps; 2], traces: impl Iterator<Item = &'a Trace>) -> Self {
        let mut tally = Self::default();
        for trace in traces {
            for entry in [Tier::Edge, Tier::Region] {
                if let Some((class, wrong)) = class(steps, trace, entry) {
                    let place = Self::CLASSES.iter().position(|c| *c == (entry, class));
                    let count = &mut tally.counts[place.expect("every pair that occurs is listed")];
                    count.answered += 1;
                    count.errors += u64::from(wrong);
                }
            }
        }
        tally
    }

    /// The count of a class, by its place in [`Self::CLASSES`]; `None` if no request is in it.
    #[must_use]
    pub fn count(&self, place: usize) -> Option<Count> {
        self.counts.get(place).copied().filter(|c| c.answered > 0)
    }

    /// Every class with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Tier, Class, Count)> {
        Self::CLASSES.into_iter().zip(self.counts).map(|((entry, class), count)| (entry, class, count))
    }
}

/// Whether a policy lets requests be answered so.
pub(crate) fn is_used([edge, region]: [Steps; 2], entry: Tier, class: Class) -> bool {
    let whole = entry == Tier::Region || edge.doubt.is_none();
    match class {
        Class::Edge => entry == Tier::Edge && edge.margin.is_some(),
        Class::Region => whole && region.margin.is_some(),
        Class::MergedRegion => !whole && region.margin.is_some(),
        Class::MergedOrigin => region.doubt.is_some(),
    }
}

/// The class of a request and whether its set is wrong; `None` where the origin ranks all.
fn class([edge, region]: [Steps; 2], trace: &Trace, entry: Tier) -> Option<(Class, bool)> {
    if entry == Tier::Edge && is_sure(edge, trace.edge) {
        return Some((Class::Edge, !trace.edge.agrees));
    }
    let part = edge.doubt.filter(|_| entry == Tier::Edge);
    let (look, lost, alone) = match part {
        Some(width) => (trace.parts[width].0, usize::from(trace.edge.wide) > width, Class::MergedRegion),
        None => (trace.region, false, Class::Region),
    };
    if is_sure(region, look) {
        Some((alone, lost || !look.agrees))
    } else {
        region.doubt.map(|width| (Class::MergedOrigin, lost || usize::from(look.wide) > width))
    }
}

fn is_sure(steps: Steps, look: Look) -> bool {
    steps.margin.is_some_and(|i| usize::from(look.reached) > i)
}
