#!/usr/bin/env bash
# Builds the bundles of the repo's own model that the end-to-end tests serve: target/test-bundle, and target/test-bundle-noisy,
# whose edge knows some of its items less well than others.
set -euo pipefail
cd "$(dirname "$0")/.."

# FOLDER SHARE: in the folder, an edge of this share of the bytes.
build() {
    local demo=tests/fixtures/demo
    rm -rf "$1"
    target/release/quantize build --model "$demo/movies.onnx" --schema "$demo/features.toml" --catalog "$demo/catalog.jsonl" \
        --calibration "$demo/requests.calibration.jsonl" --gate "$demo/requests.gate.jsonl.gz" \
        --worker target/worker/worker.wasm --k 10 --alpha 0.1 --edge-share "$2" --version test --serial 1 --out "$1"
}
build target/test-bundle 0.28
build target/test-bundle-noisy 0.22
