#!/usr/bin/env bash
# What batches of several requests are worth at the origin, on the CPU: the same clients against an origin with batching
# and one without, in turns. Writes throughputs and their ratio; asserts nothing.
#   scripts/bench-batching.sh [--clients N] [--candidates N] [--turns N] [--turn-ms N] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2
# All of the workspace, as the tests do: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bins
scripts/build-worker.sh >&2
scripts/test-bundle.sh >&2
exec target/release/bench-batching "$@"
