#!/usr/bin/env bash
# Checks the worker that scripts/build-worker.sh made, as a file: it imports nothing, exports its ABI and no more, stays
# small, and ranks. Its ABI module exists on wasm alone, so it is linted here.
# Usage: scripts/check-worker.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --release --target wasm32-unknown-unknown -p edge-worker --features pop -- -D warnings
cargo test --release --quiet -p pop --lib guest::worker_file::
