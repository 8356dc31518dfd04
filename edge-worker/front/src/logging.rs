//! What a daemon says about itself, on stderr.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not start.
#[derive(Debug, Error)]
pub enum LogError {
    /// The directives are not sound.
    #[error("the log filter `{filter}` is not valid: {reason}; write a level, or directives such as `info,pop=debug`")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process logs already.
    #[error("logging has already been set up in this process")]
    Twice,
}

/// Sends the process's log to stderr, in the given form and as far as `filter` lets through.
///
/// # Errors
/// The filter is not valid, or the process logs already.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let directives = EnvFilter::try_new(filter)
        .map_err(|e| LogError::Filter { filter: filter.to_owned(), reason: e.to_string() })?;
    let lines = tracing_subscriber::fmt().with_env_filter(directives).with_writer(std::io::stderr);
    match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_filter_that_names_no_level() {
        let refused = init(Format::Text, "pop=loud").expect_err("not a level").to_string();
        assert!(refused.starts_with("the log filter `pop=loud` is not valid: "), "{refused}");
    }
}
