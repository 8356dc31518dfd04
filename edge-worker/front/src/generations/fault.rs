//! Why a bundle, or a delta of its catalog, is refused; each names the file and the reason.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use shared_model::bundle::{EditionError, MANIFEST, delta_file};
use thiserror::Error;

/// Why what is in a folder is not served.
#[derive(Debug, Error)]
pub enum Fault {
    /// The folder itself.
    #[error("{0}")]
    Folder(io::Error),
    /// A file is there and cannot be read, which says nothing of what is in it.
    #[error("{file}: cannot be read: {error}")]
    Unreadable {
        /// Its name, within the bundle's folder.
        file: String,
        /// The system's reason.
        error: io::Error,
    },
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] EditionError),
    /// A delta. The catalog stays at the revision before it.
    #[error("{file}: {reason}")]
    Delta {
        /// Its file, within the bundle's folder.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds another model.
    #[error("{MANIFEST}: is of model `{found}`, and `{serves}` is served from this folder")]
    Model {
        /// The bundle's.
        found: String,
        /// The one in service.
        serves: String,
    },
    /// It is older than the running one, and nobody asked for it.
    #[error(
        "{MANIFEST}: version `{version}` with serial {found} is older than the running one with serial {running}; to go \
         back, ask for it by name: POST /v1/reload {{\"rollback\":\"{version}\"}}"
    )]
    Older {
        /// Its version.
        version: String,
        /// Its serial.
        found: u64,
        /// The running one's.
        running: u64,
    },
    /// Another one was asked for.
    #[error("{MANIFEST}: is of version `{found}`, not of `{asked}`")]
    Version {
        /// The bundle's.
        found: String,
        /// The one asked for.
        asked: String,
    },
    /// The tier cannot run it.
    #[error("it cannot be run here: {0}")]
    Load(String),
}

impl Fault {
    /// Whether it may be gone at the next look though nothing in the folder has changed: the system had no descriptor
    /// left, or the disk was away.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Folder(error) => error.kind() != io::ErrorKind::NotFound,
            Self::Unreadable { .. } => true,
            Self::Bundle(_)
            | Self::Delta { .. }
            | Self::Model { .. }
            | Self::Older { .. }
            | Self::Version { .. }
            | Self::Load(_) => false,
        }
    }

    /// Of a catalog that cannot be run.
    pub(super) fn unfit(revision: u64, why: &dyn Error) -> Self {
        let reason = format!("the catalog after it cannot be run here: {why}");
        Self::Delta { file: delta_file(revision), reason }
    }
}

/// A bundle is refused.
#[derive(Debug, Error)]
#[error("the bundle in {}: {reason}", folder.display())]
pub struct BundleRefused {
    /// Its folder.
    pub folder: PathBuf,
    /// The file at fault, and what is wrong with it.
    pub reason: Fault,
}

/// Why a tier cannot begin to serve its bundles.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A bundle is refused.
    #[error(transparent)]
    Refused(#[from] BundleRefused),
    /// Two bundles are of one model.
    #[error("the bundle in {}: model `{model}` is served from another bundle already; give each model one", folder.display())]
    SameModel {
        /// The second.
        folder: PathBuf,
        /// The model.
        model: String,
    },
}

/// A tier cannot run a bundle.
#[derive(Debug, Error)]
#[error("the bundle in {}: {error}", folder.display())]
pub struct LoadError<E: Error + 'static> {
    /// Its folder.
    pub folder: PathBuf,
    /// Its model.
    pub model: String,
    /// Why.
    pub error: E,
}
