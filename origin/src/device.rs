//! Which device the origin computes on, chosen once at start and named in `/readyz`.
//!
//! A device is a value of burn's, not a type: the executor runs the same program on each. A choice that cannot be had
//! is an error or a slower device, never a panic.

use burn::tensor::Device as Handle;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest that answers a probe.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// burn-flex on the CPU: exact, and the slowest.
    Cpu,
}

impl Kind {
    /// The kind's name, as in `/readyz` and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }
}

/// A device that answered its probe.
#[derive(Clone, Debug)]
pub struct Device {
    kind: Kind,
    handle: Handle,
}

impl Device {
    /// Probes what `choice` allows, fastest first; the CPU always answers.
    #[must_use]
    pub fn probe(choice: Choice) -> Self {
        match choice {
            Choice::Auto | Choice::Cpu => Self::cpu(),
        }
    }

    /// The CPU.
    #[must_use]
    pub fn cpu() -> Self {
        Self { kind: Kind::Cpu, handle: Handle::flex() }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_ends_at_a_device() {
        for choice in [Choice::Auto, Choice::Cpu] {
            assert_eq!(Device::probe(choice).kind(), Kind::Cpu);
        }
    }
}
