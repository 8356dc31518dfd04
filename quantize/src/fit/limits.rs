//! What the platforms allow: every number that `quantize fit` judges by, in one table.
//!
//! Read on 2026-11-22:
//!
//! - Cloudflare Workers: <https://developers.cloudflare.com/workers/platform/limits/>. A Worker may have 64 MiB before
//!   compression on every plan; the limits after compression, 3 MB and 10 MB, fell on 2026-09-04 (its changelog). 128 MB an
//!   isolate. CPU time of a request: 10 ms on the free plan, 30 s on the paid one unless it is set higher.
//! - Fastly Compute: <https://docs.fastly.com/products/compute-resource-limits>. 100 MB a package, which its command line
//!   holds the compressed archive to; 128 MB of heap and 50 ms of CPU time an execution.
//! - `pop`: `shared_model::limits`, and `worker.memory_mib` of `rung.toml` as it is unless set.
//!
//! Where a page says MB without saying which, a million bytes is the safe reading.

use clap::ValueEnum;
use serde::Serialize;
use shared_model::limits::MAX_WASM_BYTES;

const MB: u64 = 1_000_000;
const MIB: u64 = 1 << 20;
const MILLISECOND: u64 = 1000;

/// A platform that runs the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Cloudflare Workers on the paid plan
    Cloudflare,
    /// Cloudflare Workers on the free plan
    CloudflareFree,
    /// Fastly Compute
    Fastly,
    /// Rung's own server
    Pop,
}

/// The most of each, where there is a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of what is deployed, compressed.
    pub(super) compressed: Option<u64>,
    /// Bytes of what is deployed.
    pub(super) size: Option<u64>,
    /// Bytes of an instance's memory.
    pub(super) memory: u64,
    /// Microseconds of CPU time a request.
    pub(super) cpu: Option<u64>,
}

impl Target {
    pub(super) fn limits(self) -> Limits {
        let cloudflare = |cpu| Limits { compressed: None, size: Some(64 * MIB), memory: 128 * MB, cpu: Some(cpu) };
        match self {
            Self::Cloudflare => cloudflare(30_000 * MILLISECOND),
            Self::CloudflareFree => cloudflare(10 * MILLISECOND),
            Self::Fastly => {
                Limits { compressed: Some(100 * MB), size: None, memory: 128 * MB, cpu: Some(50 * MILLISECOND) }
            }
            Self::Pop => Limits { compressed: None, size: Some(MAX_WASM_BYTES), memory: 128 * MIB, cpu: None },
        }
    }

    /// The memory for what is computed of the items ahead where the worker loads a bundle: 0 in JavaScript, in `pop` that
    /// of `worker.item_table_mib` unless set.
    pub(super) fn item_table_bytes(self) -> u32 {
        match self {
            Self::Cloudflare | Self::CloudflareFree | Self::Fastly => 0,
            Self::Pop => 64 << 20,
        }
    }
}
