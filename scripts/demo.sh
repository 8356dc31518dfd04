#!/usr/bin/env bash
# The main job, end to end: ONNX in, bundle out, three tiers answering on loopback, and a table of how they did.
#   scripts/demo.sh [--dir DIR --model NAME [--features FILE]] [--requests N] [--serve] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2
scripts/build-worker.sh >&2
# All of the workspace, as the tests do: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bins
exec target/release/demo "$@"
