//! `[log]`: what a daemon writes to stderr about itself.

use crate::keys::Key;
use crate::section::Section;

pub(crate) const KEYS: &[Key] = &[
    Key::choice("format", &["text", "json"], "lines for people, or one JSON object a line").or_text("text"),
    Key::text("filter", "`EnvFilter` syntax", "a level, or directives: `info,pop=debug`").or_text("info"),
];

/// How and how much is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    format: LogFormat,
    filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Log {
    pub(crate) fn read(root: &mut Section<'_>) -> Self {
        let mut section = root.defaulted("log");
        let format = section
            .optional("format", "`text` or `json`")
            .and_then(|entry| entry.one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]));
        let filter = section
            .optional("filter", "a level, or directives such as `info,pop=debug`")
            .and_then(|entry| entry.text(|text| (!text.trim().is_empty()).then(|| text.to_owned())));
        section.finish();
        Self { format: format.unwrap_or(LogFormat::Text), filter: filter.unwrap_or_else(|| "info".to_owned()) }
    }

    /// The form of a line.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Directives in the syntax of `tracing_subscriber::EnvFilter`, which alone can tell whether they are sound.
    pub fn filter(&self) -> &str {
        &self.filter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{EDGE, accepted, refused};

    #[test]
    fn logs_text_at_info_unless_told() {
        let config = accepted(EDGE);
        assert_eq!((config.log().format(), config.log().filter()), (LogFormat::Text, "info"));

        let config = accepted(&format!("{EDGE}[log]\nformat = \"json\"\nfilter = \"warn,pop=debug\""));
        assert_eq!((config.log().format(), config.log().filter()), (LogFormat::Json, "warn,pop=debug"));
    }

    #[test]
    fn rejects_an_unknown_log_format() {
        let text = format!("{EDGE}[log]\nformat = \"xml\"");
        assert_eq!(refused(&text), ["rung.toml:14: log.format: is `xml`, expected `text` or `json`"]);
    }

    #[test]
    fn rejects_an_empty_log_filter() {
        let text = format!("{EDGE}[log]\nfilter = \" \"");
        assert_eq!(
            refused(&text),
            ["rung.toml:14: log.filter: is ` `, expected a level, or directives such as `info,pop=debug`"]
        );
    }
}
