//! `[device]`: where an origin runs its models, and how.

use std::fmt;

use crate::keys::Key;
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[
    Key::text(
        "use",
        "`auto`, `cpu` or `cuda:N`",
        "`auto`: the first NVIDIA GPU if it answers the probe at start, else the CPU. `cuda:0`: that GPU or no start",
    )
    .or_text("auto"),
    Key::choice(
        "precision",
        &["f32", "tf32", "bf16"],
        "how a GPU multiplies matrices. Only `f32` is the reference that tiers are certified against: with the others \
         nothing is claimed of what the origin had a part in. The CPU has `f32` alone",
    )
    .or_text("f32")
    .clients("`variant` of answers, and their claims"),
];

/// The largest number of a GPU.
const MAX_INDEX: usize = 255;

/// The choice of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A GPU if one answers the probe at start, else the CPU.
    Auto,
    /// The CPU, whatever else there is.
    Cpu,
    /// The NVIDIA GPU of this number, and nothing else.
    Cuda(usize),
}

/// How a GPU multiplies matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// IEEE f32.
    F32,
    /// Operands rounded to 10 bits of mantissa.
    Tf32,
    /// Operands and results rounded to 7 bits of mantissa.
    Bf16,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Device {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            _ => {
                let index = text.strip_prefix("cuda:")?;
                let digits = index.bytes().all(|b| b.is_ascii_digit());
                let index = index.parse().ok().filter(|index| digits && *index <= MAX_INDEX)?;
                Some(Self::Cuda(index))
            }
        }
    }

    pub(crate) fn read(mut section: Section<'_>) -> (Self, Precision) {
        let device = section.optional("use", "`auto`, `cpu` or `cuda:0`").and_then(|entry| entry.normal(Self::parse));
        let precision = section.optional("precision", "`f32`, `tf32` or `bf16`").and_then(|entry| {
            entry.one_of(&[("f32", Precision::F32), ("tf32", Precision::Tf32), ("bf16", Precision::Bf16)])
        });
        section.finish();
        (device.unwrap_or(Self::Auto), precision.unwrap_or(Precision::F32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::example::{ORIGIN, accepted, refused};

    fn device_of(text: &str) -> (Device, Precision) {
        match accepted(&format!("{ORIGIN}{text}")).role() {
            Role::Origin(origin) => (origin.device(), origin.precision()),
            Role::Edge(_) | Role::Region(_) => panic!("not an origin"),
        }
    }

    #[test]
    fn an_origin_takes_the_best_device_it_finds_unless_told() {
        assert_eq!(device_of(""), (Device::Auto, Precision::F32));
        assert_eq!(device_of("[device]\nuse = \"cpu\""), (Device::Cpu, Precision::F32));
        let given = device_of("[device]\nuse = \"cuda:12\"\nprecision = \"bf16\"");
        assert_eq!(given, (Device::Cuda(12), Precision::Bf16));
    }

    #[test]
    fn rejects_an_unknown_device() {
        for device in ["tpu", "cuda", "cuda:", "cuda:+1", "cuda:256", "cuda:99999999999999999999"] {
            let text = format!("{ORIGIN}[device]\nuse = \"{device}\"");
            let expected = format!("rung.toml:11: device.use: is `{device}`, expected `auto`, `cpu` or `cuda:0`");
            assert_eq!(refused(&text), [expected]);
        }
    }

    #[test]
    fn rejects_an_unknown_precision() {
        let text = format!("{ORIGIN}[device]\nprecision = \"fp8\"");
        assert_eq!(refused(&text), ["rung.toml:11: device.precision: is `fp8`, expected `f32`, `tf32` or `bf16`"]);
    }
}
