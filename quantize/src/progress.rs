//! Progress on stderr, for people: bars on what takes longer than a second, nothing when it is not a terminal.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

/// Whether and how progress is shown.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    shown: bool,
}

impl Progress {
    /// Shown on stderr; indicatif hides it where stderr is not a terminal.
    #[must_use]
    pub fn shown() -> Self {
        Self { shown: true }
    }

    /// Not shown.
    #[must_use]
    pub fn hidden() -> Self {
        Self { shown: false }
    }

    /// A bar over the bytes of a file.
    #[must_use]
    pub fn bytes(&self, path: &Path, verb: &str) -> ProgressBar {
        let total = std::fs::metadata(path).map_or(0, |m| m.len());
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        self.bar(total, &format!("{verb} {file}"), "{msg:40} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    /// A bar over steps.
    #[must_use]
    pub fn steps(&self, total: usize, what: &str) -> ProgressBar {
        self.bar(total as u64, what, "{msg:40} {wide_bar} {pos}/{len} {eta}")
    }

    fn bar(&self, total: u64, message: &str, template: &str) -> ProgressBar {
        if !self.shown {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total).with_style(style).with_message(message.to_owned())
    }
}
