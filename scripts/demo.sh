#!/usr/bin/env bash
# The main job, end to end: ONNX in, bundle out, three tiers answering on loopback, and a table of how they did.
#   scripts/demo.sh [--dir DIR --model NAME [--features FILE]] [--requests N] [--serve] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2
scripts/build-worker.sh >&2
cargo build --release -p quantize -p origin -p pop -p rung-tests --bins
exec target/release/demo "$@"
