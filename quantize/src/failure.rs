//! Why a command ends without its result, and the exit code that says so.

use std::path::Path;

use thiserror::Error;

use crate::check::CheckError;
use crate::import::ImportError;
use crate::score::ScorerError;
use crate::source::SourceError;

/// Why a command ends without its result.
#[derive(Debug, Error)]
pub enum Failure {
    /// A file cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model cannot be imported.
    #[error("{path}: {error}")]
    Import {
        /// The model's file.
        path: String,
        /// The reason.
        error: Box<ImportError>,
    },
    /// The model failed a check.
    #[error("{path}: {error}")]
    Check {
        /// The model's file.
        path: String,
        /// The reason.
        error: Box<CheckError>,
    },
    /// A variant cannot be run.
    #[error("{path}: {error}")]
    Scorer {
        /// Its file.
        path: String,
        /// The reason.
        error: Box<ScorerError>,
    },
}

impl Failure {
    pub(crate) fn import(path: &Path, error: ImportError) -> Self {
        Self::Import { path: path.display().to_string(), error: Box::new(error) }
    }

    pub(crate) fn check(path: &Path, error: CheckError) -> Self {
        match error {
            CheckError::Source(error) => Self::Source(error),
            error => Self::Check { path: path.display().to_string(), error: Box::new(error) },
        }
    }

    pub(crate) fn scorer(path: &Path, error: ScorerError) -> Self {
        Self::Scorer { path: path.display().to_string(), error: Box::new(error) }
    }

    /// 1: the model does not pass; 2: usage, or a file that cannot be used.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Import { error, .. } => match **error {
                ImportError::NotOnnx(_) | ImportError::Tensor { .. } => 2,
                ImportError::Input { .. }
                | ImportError::Mixes { .. }
                | ImportError::Unsupported { .. }
                | ImportError::Output { .. }
                | ImportError::Graph(_) => 1,
            },
            Self::Check { .. } => 1,
            Self::Source(_) | Self::Scorer { .. } => 2,
        }
    }
}
