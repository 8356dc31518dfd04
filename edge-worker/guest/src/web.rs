//! The worker for a JavaScript host: the files of a bundle in, JSON in, JSON out.
//!
//! ```text
//! host ── files ─────────────> JsonWorker::load
//!      ── request, JSON ─────> rank ───> WebStep: an answer in JSON, or what goes up in CBOR
//!      ── held, reply, CBOR ─> resume ─> WebStep
//! ```
//!
//! There is no `front` before it and no `pop` around it, so it does what they do before and after the ladder: it verifies
//! the bundle, decodes the request by the same decoder and shares out the time. It has no clock: the host says how much
//! time is left. `bindings` is its boundary, on wasm32 alone.

#[cfg(target_arch = "wasm32")]
mod bindings;

use std::str::Utf8Error;
use std::time::Duration;

use minicbor::{Decode, Encode};
use shared_model::bundle::{Bundle, BundleError, CATALOG, FEATURES, MANIFEST, Manifest};
use shared_model::ladder::{Call, Ladder, LoadError, Outcome, Parts, Step, TierLimits};
use shared_model::limits::MAX_TIMEOUT_MS;
use shared_model::schema::{Schema, SchemaFaults};
use shared_model::variant::VariantName;
use shared_model::wire::json::{self, Decoded, FieldError, JsonLimits};
use shared_model::wire::{Answer, CborError, Refusal, Tier, from_cbor, to_cbor};
use thiserror::Error;

use crate::MAX_MESSAGE_BYTES;

/// How long a client waits that does not say; as `limits.default_timeout_ms` of `rung.toml`.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(100);
/// The share of the time left that the way up and back may use, and of that the upper tier: as in `pop`.
const STEP_SHARE: f64 = 0.8;
const UPSTREAM_SHARE: f64 = 0.9;

/// The files of a bundle that a tier needs, as they lie in its folder.
#[derive(Debug)]
pub struct BundleFiles {
    /// `manifest.json`.
    pub manifest: Vec<u8>,
    /// `features.toml`.
    pub features: Vec<u8>,
    /// `catalog.safetensors`.
    pub catalog: Vec<u8>,
    /// The file of the tier's variant.
    pub variant: Vec<u8>,
}

/// One tier's worker for one verified bundle.
#[derive(Debug)]
pub struct JsonWorker {
    ladder: Ladder,
    tier: Tier,
    model: String,
    version: String,
}

/// What the host is to do.
#[derive(Debug)]
pub enum WebStep {
    /// Give this to the client.
    Answer {
        /// The answer, as `POST /v1/rank` gives it.
        json: String,
    },
    /// Ask the tier above.
    Escalate {
        /// The body of `POST /v1/escalate`.
        body: Vec<u8>,
        /// How long to wait for the reply, so that there is time left to answer without one.
        wait: Duration,
        /// What [`JsonWorker::resume`] needs.
        held: Vec<u8>,
        /// The answer without a reply, if it is known already, as JSON.
        ready: Option<String>,
    },
}

/// Why there is no step.
#[derive(Debug, Error)]
pub enum WebError {
    /// A file is not the one that the manifest lists.
    #[error(transparent)]
    Unverified(#[from] BundleError),
    /// The schema is not text.
    #[error("{FEATURES}: not UTF-8: {0}")]
    NotText(#[from] Utf8Error),
    /// The schema.
    #[error("{FEATURES}: {0}")]
    Schema(#[from] SchemaFaults),
    /// The files do not make a worker.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Not a tier that has a worker.
    #[error("is `{0}`, but must be `edge` or `region`")]
    Tier(String),
    /// The request is at fault.
    #[error("{}", .0.message)]
    Request(Refusal),
    /// What was held is not.
    #[error("is not what an escalation held: {0}")]
    Held(#[from] CborError),
}

/// What is kept while the tier above is asked: the ladder's, and what it does not know of.
#[derive(Debug, Encode, Decode)]
struct Held {
    #[cbor(n(0), with = "minicbor::bytes")]
    ladder: Vec<u8>,
    #[n(1)]
    warnings: Vec<String>,
    /// What is left of the client's time once the wait is over.
    #[n(2)]
    left_us: u64,
}

impl JsonWorker {
    /// Verifies the files and makes a worker of them. `tier` is `edge` or `region`.
    ///
    /// # Errors
    /// Names the file and the reason.
    pub fn load(tier: &str, limits: TierLimits, files: BundleFiles) -> Result<Self, WebError> {
        let tier = match tier {
            "edge" => Tier::Edge,
            "region" => Tier::Region,
            other => return Err(WebError::Tier(other.to_owned())),
        };
        let variant = VariantName::of(tier).file();
        let BundleFiles { manifest, features, catalog, variant: weights } = files;
        let mut given = [(MANIFEST, manifest), (FEATURES, features), (CATALOG, catalog), (variant, weights)];
        let bundle = Bundle::read(&[FEATURES, CATALOG, variant], |wanted, _| {
            let found = given.iter_mut().find(|(file, _)| *file == wanted);
            found.map(|(_, bytes)| std::mem::take(bytes)).ok_or_else(|| "is not given".to_owned())
        })?;
        let schema = Schema::from_toml(std::str::from_utf8(bundle.file(FEATURES)?)?)?.to_json();
        let parts = Parts {
            manifest: bundle.manifest_bytes(),
            schema: &schema,
            variant: bundle.file(variant)?,
            catalog: bundle.file(CATALOG)?,
        };
        let ladder = Ladder::load(tier, limits, parts)?;
        let Manifest { model, version, .. } = bundle.manifest;
        Ok(Self { ladder, tier, model, version })
    }

    /// Ranks the request of a `POST /v1/rank`. `left` is what is left of the client's time; else its `timeout_ms` is.
    ///
    /// # Errors
    /// The request is at fault.
    pub fn rank(&mut self, request: &str, left: Option<Duration>) -> Result<WebStep, WebError> {
        if request.len() > MAX_MESSAGE_BYTES {
            let message = format!("a request of {} bytes: at most {MAX_MESSAGE_BYTES} are allowed", request.len());
            return Err(refused("", message));
        }
        let Decoded { request, warnings, relevant: _ } = json::decode(request.as_bytes(), &JsonLimits::default())?;
        if request.model != self.model {
            return Err(refused("model", format!("no model `{}` is served here", request.model)));
        }
        let asked = request.timeout_ms.map_or(DEFAULT_TIMEOUT, |ms| Duration::from_millis(ms.into()));
        let step = self.ladder.rank(&Call { request, below: None, part: None });
        told(step, warnings, left.unwrap_or(asked))
    }

    /// Goes on with an escalation: with the reply of the tier above, or without one. Bytes that are no reply are none.
    ///
    /// # Errors
    /// The tier above finds the request at fault, or `held` is not of this bundle.
    pub fn resume(&mut self, held: &[u8], reply: Option<&[u8]>, left: Option<Duration>) -> Result<WebStep, WebError> {
        let Held { ladder, warnings, left_us } = from_cbor(held)?;
        let reply = reply.filter(|bytes| bytes.len() <= MAX_MESSAGE_BYTES).and_then(|bytes| from_cbor(bytes).ok());
        let step = self.ladder.resume(&ladder, reply.map_or(Outcome::Gone, Outcome::Reply));
        told(step, warnings, left.unwrap_or(Duration::from_micros(left_us)))
    }

    /// The tier it is.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The model that requests name.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The bundle's digest, hex: whoever knows it already can tell that this is the bundle meant.
    #[must_use]
    pub fn digest(&self) -> String {
        self.ladder.stamp().bundle.to_string()
    }
}

/// A step of the ladder as the host sees it.
fn told(step: Step, warnings: Vec<String>, left: Duration) -> Result<WebStep, WebError> {
    match step {
        Step::Answer(answer) => Ok(WebStep::Answer { json: text(*answer, &warnings) }),
        Step::Refused(refusal) => Err(WebError::Request(refusal)),
        Step::Whole(_) => Err(refused("", "held is of a part of a request, which no client sends".to_owned())),
        Step::Escalate { held, mut message, ready, .. } => {
            let left = left.min(Duration::from_millis(MAX_TIMEOUT_MS.into()));
            let wait = left.mul_f64(STEP_SHARE);
            message.remaining_us = micros(wait.mul_f64(UPSTREAM_SHARE));
            let ready = ready.map(|answer| text(*answer, &warnings));
            let held = to_cbor(&Held { ladder: held, warnings, left_us: micros(left - wait) });
            Ok(WebStep::Escalate { body: to_cbor(&message), wait, held, ready })
        }
    }
}

/// An answer as JSON, with what was ignored in its request.
fn text(mut answer: Answer, warnings: &[String]) -> String {
    for warning in warnings {
        if !answer.warnings.contains(warning) {
            answer.warnings.push(warning.clone());
        }
    }
    String::from_utf8(json::encode(&answer)).expect("JSON is UTF-8")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).expect("a timeout is bounded")
}

fn refused(field: &str, message: String) -> WebError {
    WebError::Request(Refusal { field: field.to_owned(), message })
}

impl From<FieldError> for WebError {
    fn from(error: FieldError) -> Self {
        Self::Request(error.into())
    }
}

impl WebError {
    /// The field, file or option at fault; empty when it is none alone.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Request(refusal) => &refusal.field,
            Self::Tier(_) => "tier",
            Self::Held(_) => "held",
            Self::Unverified(_) | Self::NotText(_) | Self::Schema(_) | Self::Load(_) => "bundle",
        }
    }
}

#[cfg(test)]
mod tests;
