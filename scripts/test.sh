#!/usr/bin/env bash
# Runs the tests, on the models and data in the repo alone; scripts/faults.sh has those too heavy for every run.
# Installs what is missing.
#   scripts/test.sh [ARGUMENTS OF cargo nextest run | cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build-worker.sh
cargo build --release --workspace --bins
scripts/build-web.sh
scripts/test-bundle.sh
scripts/fuzz-smoke.sh
if cargo nextest --version > /dev/null 2>&1; then
    cargo nextest run --release --workspace "$@"
else
    cargo test --release --workspace "$@" -- --skip faults::
    # Several programs a test, and some measure what those do in time: a few at a time, as .config/nextest.toml has it.
    cargo test --release --workspace --test e2e "$@" -- --test-threads 2 faults::
fi
