#!/usr/bin/env bash
# Builds the bundle of the repo's own model that the end-to-end tests serve: target/test-bundle.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=tests/fixtures/demo
rm -rf target/test-bundle
target/release/quantize build --model "$demo/movies.onnx" --schema "$demo/features.toml" --catalog "$demo/catalog.jsonl" \
    --calibration "$demo/requests.calibration.jsonl" --gate "$demo/requests.gate.jsonl.gz" \
    --worker target/worker/worker.wasm --k 10 --alpha 0.1 --edge-share 0.28 --version test --serial 1 --out target/test-bundle
