//! A bundle: all that one model version needs, in one folder.
//!
//! Reading verifies before it parses: the manifest's bytes give the bundle's digest, the manifest gives every file's
//! length and SHA-256, and only bytes that match are handed on. The caller supplies the bytes; nothing here does I/O.

#[cfg(feature = "toml")]
mod edition;
mod mark;

#[cfg(feature = "toml")]
pub use edition::{DELTAS, Edition, EditionError, NotApplied, Obstacle, TierFiles, delta_file};
pub use mark::Mark;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::gate::Policy;
use crate::limits;
use crate::variant::VariantName;
use crate::wire::{Digest, Stamp};

/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// The schema's file.
pub const FEATURES: &str = "features.toml";
/// The catalog's file.
pub const CATALOG: &str = "catalog.safetensors";

const SCHEMA_VERSION: u32 = 1;

/// What `manifest.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of this file.
    pub schema_version: u32,
    /// What requests name.
    pub model: String,
    /// The version an answer names.
    pub version: String,
    /// Only grows; an older one is a rollback.
    pub serial: u64,
    /// SHA-256 of `features.toml`, hex.
    pub schema_hash: String,
    /// Every other file.
    pub files: BTreeMap<String, FileEntry>,
    /// Every variant.
    pub variants: BTreeMap<VariantName, VariantEntry>,
    /// When a tier may answer.
    pub policies: Vec<Policy>,
    /// Ids in the order in which they are answered when nothing is known of any candidate: level 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub static_list: Vec<String>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, hex.
    pub sha256: String,
}

/// What was lost in a variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantEntry {
    /// The bytes of its tensors' data.
    pub tensor_bytes: u64,
    /// Bits by tensor, of those quantized; the mean where a table's rows differ.
    pub bits: BTreeMap<String, f64>,
    /// Its quality on the evaluation requests, when there were any.
    pub quality: Option<Quality>,
}

/// How well a variant ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Evaluation requests.
    pub requests: u64,
    /// The k of what follows.
    pub k: u32,
    /// The share of requests whose relevant item is in the top k.
    pub hit_rate: f64,
    /// The mean normalized discounted cumulative gain of the top k.
    pub ndcg: f64,
    /// The mean share of irrelevant candidates ranked below the relevant one.
    pub auc: f64,
    /// The share of requests with the reference's top-k set.
    pub agreement: f64,
    /// The mean share of the reference's top-k set that is in this one's.
    pub overlap: f64,
}

/// Why a bundle is refused.
#[derive(Debug, Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// The caller's reason.
        reason: String,
    },
    /// The manifest is not understood.
    #[error("{MANIFEST}: {0}")]
    Manifest(String),
    /// The manifest does not list a file that is needed.
    #[error("{MANIFEST} does not list {0}: the bundle is incomplete")]
    Missing(String),
    /// A file is not the one the manifest lists.
    #[error("{file} does not match its digest in {MANIFEST}: expected {expected}, got {got}; fetch the bundle again")]
    Digest {
        /// The file.
        file: String,
        /// What the manifest says.
        expected: String,
        /// What the bytes give.
        got: String,
    },
}

/// A verified bundle: the manifest, and the files asked for.
#[derive(Debug)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it is called between tiers.
    pub digest: Digest,
    manifest_bytes: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Bundle {
    /// Reads and verifies the manifest and the `wanted` files.
    ///
    /// `read` is given a file name and the most bytes it may return.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn read(wanted: &[&str], read: impl FnMut(&str, u64) -> Result<Vec<u8>, String>) -> Result<Self, BundleError> {
        Self::read_with(wanted, None, read)
    }

    /// As [`Self::read`], with one more file if the manifest lists it.
    fn read_with(
        wanted: &[&str],
        optional: Option<&str>,
        mut read: impl FnMut(&str, u64) -> Result<Vec<u8>, String>,
    ) -> Result<Self, BundleError> {
        let mut fetch = |file: &str, max: u64| {
            let bytes = read(file, max).map_err(|reason| BundleError::Read { file: file.to_owned(), reason })?;
            match u64::try_from(bytes.len()) {
                Ok(n) if n <= max => Ok(bytes),
                _ => Err(BundleError::Read { file: file.to_owned(), reason: format!("more than {max} bytes") }),
            }
        };
        let manifest_bytes = fetch(MANIFEST, limits::MAX_MANIFEST_BYTES)?;
        let manifest = Manifest::from_bytes(&manifest_bytes)?;
        let mut files = BTreeMap::new();
        let optional = optional.filter(|file| manifest.files.contains_key(*file));
        for file in wanted.iter().copied().chain(optional) {
            let entry = manifest.files.get(file).ok_or_else(|| BundleError::Missing(file.to_owned()))?;
            let bytes = fetch(file, entry.bytes)?;
            let got = sha256_hex(&bytes);
            if got != entry.sha256 {
                return Err(BundleError::Digest { file: file.to_owned(), expected: entry.sha256.clone(), got });
            }
            files.insert(file.to_owned(), bytes);
        }
        Ok(Self { digest: Digest(Sha256::digest(&manifest_bytes).into()), manifest, manifest_bytes, files })
    }

    /// The bytes of a file that was asked for.
    ///
    /// # Errors
    /// It was not.
    pub fn file(&self, name: &str) -> Result<&[u8], BundleError> {
        self.files.get(name).map(Vec::as_slice).ok_or_else(|| BundleError::Missing(name.to_owned()))
    }

    /// The manifest as it was signed and digested.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// What this bundle's scores are stamped with, as bundled.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { bundle: self.digest, catalog: 0 }
    }
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// It is not one, or of a later form, or lists what cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| BundleError::Manifest(e.to_string()))?;
        if manifest.schema_version != SCHEMA_VERSION {
            let got = manifest.schema_version;
            let what = format!("schema_version {got} is not supported (this is version {SCHEMA_VERSION}): update Rung");
            return Err(BundleError::Manifest(what));
        }
        for (file, entry) in &manifest.files {
            let max = if file.ends_with(".wasm") { limits::MAX_WASM_BYTES } else { limits::MAX_TENSORS_BYTES };
            if entry.bytes > max {
                let what = format!("{file} has {} bytes, at most {max} are allowed", entry.bytes);
                return Err(BundleError::Manifest(what));
            }
        }
        if manifest.static_list.len() > limits::MAX_STATIC_LIST {
            let (got, max) = (manifest.static_list.len(), limits::MAX_STATIC_LIST);
            return Err(BundleError::Manifest(format!("static_list has {got} ids, at most {max} are allowed")));
        }
        for p in &manifest.policies {
            let probability = |v: f64| (0.0..=1.0).contains(&v);
            let thresholds = [p.edge.margin, p.edge.doubt, p.region.margin, p.region.doubt];
            if !probability(p.alpha)
                || !probability(p.delta)
                || thresholds.iter().flatten().any(|t| t.is_nan() || *t < 0.0)
            {
                let what = format!(
                    "the policy for k = {} and {} to {} candidates has impossible numbers",
                    p.k, p.n_min, p.n_max
                );
                return Err(BundleError::Manifest(what));
            }
        }
        Ok(manifest)
    }

    /// The bytes of `manifest.json`; the same manifest gives the same bytes.
    ///
    /// # Panics
    /// Never: a manifest is plain data.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a manifest has no map with keys that are not text");
        bytes.push(b'\n');
        bytes
    }

    /// An empty manifest of the current form.
    #[must_use]
    pub fn new(model: &str, version: &str, serial: u64, features: &[u8]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            model: model.to_owned(),
            version: version.to_owned(),
            serial,
            schema_hash: sha256_hex(features),
            files: BTreeMap::new(),
            variants: BTreeMap::new(),
            policies: Vec::new(),
            static_list: Vec::new(),
        }
    }
}

impl FileEntry {
    /// The entry of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: sha256_hex(bytes) }
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}
