//! `[device]`: where an origin runs its model.

use crate::keys::Key;
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[Key::choice(
    "use",
    &["auto", "cpu"],
    "`auto`: the best that answers the probe at start (in this version: the CPU)",
)
.or_text("auto")];

/// The choice of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A GPU if one answers the probe at start, else the CPU.
    Auto,
    /// The CPU, whatever else there is.
    Cpu,
}

impl Device {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let device = section
            .optional("use", "`auto` or `cpu`")
            .and_then(|entry| entry.one_of(&[("auto", Self::Auto), ("cpu", Self::Cpu)]));
        section.finish();
        device.unwrap_or(Self::Auto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{ORIGIN, accepted, refused};

    fn device_of(text: &str) -> Device {
        match accepted(text).role() {
            Role::Origin(origin) => origin.device(),
            Role::Edge(_) | Role::Region(_) => panic!("not an origin"),
        }
    }

    #[test]
    fn an_origin_takes_the_best_device_it_finds_unless_told() {
        assert_eq!(device_of(ORIGIN), Device::Auto);
        assert_eq!(device_of(&format!("{ORIGIN}[device]\nuse = \"cpu\"")), Device::Cpu);
    }

    #[test]
    fn rejects_an_unknown_device() {
        let text = format!("{ORIGIN}[device]\nuse = \"tpu\"");
        assert_eq!(refused(&text), ["rung.toml:11: device.use: is `tpu`, expected `auto` or `cpu`"]);
    }
}
