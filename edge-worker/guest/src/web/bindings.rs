//! The boundary to JavaScript: `edge-worker/guest/web/worker.js` is the one caller, `host.js` makes what it is given.

use std::time::Duration;

use shared_model::ladder::TierLimits;
use wasm_bindgen::prelude::*;

use super::{BundleFiles, JsonWorker, WebError, WebStep};

#[wasm_bindgen(raw_module = "./host.js")]
extern "C" {
    /// What is thrown for every [`WebError`].
    type RungError;
    #[wasm_bindgen(constructor)]
    fn new(field: &str, message: &str) -> RungError;

    /// The step of an answer.
    fn answered(json: &str) -> JsValue;
    /// The step of an escalation.
    fn escalated(body: &[u8], wait_ms: f64, held: &[u8], ready: Option<String>) -> JsValue;
    /// Throws: the instance is lost.
    fn panicked(text: &str);
}

/// One worker; of its own kind for each (tier, bundle).
#[wasm_bindgen]
pub struct RawWorker(JsonWorker);

#[wasm_bindgen]
impl RawWorker {
    /// Verifies the files of a bundle and makes a worker of them.
    ///
    /// # Errors
    /// A `RungError` that names the file.
    #[wasm_bindgen(constructor)]
    pub fn new(
        manifest: Vec<u8>,
        features: Vec<u8>,
        catalog: Vec<u8>,
        variant: Vec<u8>,
        tier: &str,
        max_candidates: u32,
        max_k: u32,
    ) -> Result<RawWorker, JsValue> {
        let files = BundleFiles { manifest, features, catalog, variant };
        JsonWorker::load(tier, TierLimits { max_candidates, max_k, item_table_bytes: 0 }, files)
            .map(Self)
            .map_err(thrown)
    }

    /// A step, for a request in JSON.
    ///
    /// # Errors
    /// A `RungError` that names the field.
    pub fn rank(&mut self, request: &str, left_ms: Option<f64>) -> Result<JsValue, JsValue> {
        self.0.rank(request, left_ms.map(duration)).map(step).map_err(thrown)
    }

    /// The next step, for what an escalation held and the bytes of a reply.
    ///
    /// # Errors
    /// A `RungError` that names the field.
    pub fn resume(&mut self, held: &[u8], reply: Option<Vec<u8>>, left_ms: Option<f64>) -> Result<JsValue, JsValue> {
        self.0.resume(held, reply.as_deref(), left_ms.map(duration)).map(step).map_err(thrown)
    }

    /// `edge` or `region`.
    #[wasm_bindgen(getter)]
    pub fn tier(&self) -> String {
        self.0.tier().as_str().to_owned()
    }

    /// The model that requests name.
    #[wasm_bindgen(getter)]
    pub fn model(&self) -> String {
        self.0.model().to_owned()
    }

    /// Its version.
    #[wasm_bindgen(getter)]
    pub fn version(&self) -> String {
        self.0.version().to_owned()
    }

    /// The bundle's digest, hex.
    #[wasm_bindgen(getter)]
    pub fn digest(&self) -> String {
        self.0.digest()
    }
}

#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| panicked(&panic.to_string())));
}

fn step(step: WebStep) -> JsValue {
    match step {
        WebStep::Answer { json } => answered(&json),
        WebStep::Escalate { body, wait, held, ready } => escalated(&body, wait.as_micros() as f64 / 1e3, &held, ready),
    }
}

fn thrown(error: WebError) -> JsValue {
    RungError::new(error.field(), &error.to_string()).into()
}

/// Not a number, or less than none, is none.
fn duration(ms: f64) -> Duration {
    Duration::from_micros((ms * 1e3) as u64)
}
