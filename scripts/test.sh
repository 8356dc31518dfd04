#!/usr/bin/env bash
# Runs every test, on the models and data in the repo alone. Installs what is missing.
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
    cargo test --release --workspace "$@"
fi
