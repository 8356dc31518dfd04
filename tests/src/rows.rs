//! The one form in which benchmarks and the demo write what they measured.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::client::Error;

/// A document of rows.
#[derive(Debug, Serialize)]
pub struct Document {
    schema_version: u32,
    machine: Machine,
    rows: Vec<Row>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu: Option<String>,
    cores: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<String>,
}

/// One number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Of what.
    pub subject: String,
    /// The number; null if it could not be measured.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Cow<'static, str>,
    /// The bar it must reach, like `<=10`.
    pub must: Option<String>,
    /// The bar it should reach.
    pub want: Option<String>,
    /// Whether it reaches `must`, or `want` where nothing must be reached.
    pub met: Option<bool>,
    /// Why there is no number.
    pub reason: Option<String>,
}

/// What a number is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// `<=`
    AtMost(f64),
    /// `>=`
    AtLeast(f64),
    /// `>`
    Above(f64),
}

impl Bar {
    /// Whether a number reaches it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bar) => value <= bar,
            Self::AtLeast(bar) => value >= bar,
            Self::Above(bar) => value > bar,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "<={bar}"),
            Self::AtLeast(bar) => write!(f, ">={bar}"),
            Self::Above(bar) => write!(f, ">{bar}"),
        }
    }
}

impl Row {
    /// A number without a bar.
    #[must_use]
    pub fn new(name: &str, subject: &str, unit: &'static str, value: Option<f64>) -> Self {
        let (name, subject) = (name.to_owned(), subject.to_owned());
        Self { name, subject, value, unit: unit.into(), must: None, want: None, met: None, reason: None }
    }

    /// With a bar it should not exceed; `met` then says whether it does not.
    #[must_use]
    pub fn at_most(self, bar: f64) -> Self {
        Self { met: Some(self.value.is_some_and(|v| v <= bar)), want: Some(format!("<={bar}")), ..self }
    }

    /// With a bar it must not exceed.
    #[must_use]
    pub fn must_be_at_most(self, bar: f64) -> Self {
        Self { met: Some(self.value.is_some_and(|v| v <= bar)), must: Some(format!("<={bar:e}")), ..self }
    }

    /// With the bar it must reach and the one it should; a missing number reaches none.
    #[must_use]
    pub fn held_to(self, must: Option<Bar>, want: Option<Bar>) -> Self {
        let met = must.or(want).map(|bar| self.value.is_some_and(|v| bar.is_met(v)));
        Self { must: must.map(|b| b.to_string()), want: want.map(|b| b.to_string()), met, ..self }
    }

    /// With the reason for a missing number.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason: reason.filter(|_| self.value.is_none()), ..self }
    }
}

impl Document {
    /// Rows measured on this machine.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok();
        let cpu = cpu.and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let cores = std::thread::available_parallelism().ok().map(Into::into);
        let machine = Machine { os: std::env::consts::OS, arch: std::env::consts::ARCH, cpu, cores, gpu: None };
        Self { schema_version: 1, machine, rows }
    }

    /// Measured on this GPU.
    #[must_use]
    pub fn with_gpu(mut self, gpu: Option<String>) -> Self {
        self.machine.gpu = gpu;
        self
    }

    /// The rows of a document.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Vec<Row>, Error> {
        /// What of it is read.
        #[derive(Deserialize)]
        struct Rows {
            rows: Vec<Row>,
        }
        let file = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let bytes = std::fs::read(path).map_err(|e| file(&e))?;
        Ok(serde_json::from_slice::<Rows>(&bytes).map_err(|e| file(&e))?.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_held_to_what_it_must_reach_else_to_what_it_should() {
        let row = |value| Row::new("a", "b", "ratio", value);
        let held = row(Some(0.9)).held_to(Some(Bar::AtMost(1.0)), Some(Bar::AtMost(0.6)));
        assert_eq!((held.must.as_deref(), held.want.as_deref(), held.met), (Some("<=1"), Some("<=0.6"), Some(true)));
        assert_eq!(row(Some(1.0)).held_to(None, Some(Bar::AtLeast(1.5))).met, Some(false));
        assert_eq!(row(Some(1.0)).held_to(Some(Bar::Above(1.0)), None).met, Some(false));
        assert_eq!(row(Some(1.0)).held_to(None, None).met, None);
    }

    #[test]
    fn a_missing_number_reaches_no_bar_and_says_why() {
        let row = Row::new("a", "b", "ratio", None).held_to(Some(Bar::AtLeast(0.0)), None);
        let row = row.because(Some("nobody counted".to_owned()));
        assert_eq!((row.met, row.reason.as_deref()), (Some(false), Some("nobody counted")));
    }
}
