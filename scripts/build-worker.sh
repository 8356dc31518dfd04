#!/usr/bin/env bash
# Builds the WASM worker that pop hosts: target/worker/worker.wasm.
# Usage: scripts/build-worker.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/wasm.sh

build_wasm pop symbols
out=$target/worker
mkdir -p "$out"
made=$(mktemp "$out/.worker.XXXXXX")
trap 'rm -f "$made"' EXIT
optimize_wasm "$built" "$made" "$out/wasm-opt.log"
chmod 644 "$made"
mv "$made" "$out/worker.wasm"
echo "$out/worker.wasm: $(stat -c %s "$out/worker.wasm") bytes, $how"
