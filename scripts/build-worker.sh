#!/usr/bin/env bash
# Builds the WASM worker that pop hosts: target/worker/worker.wasm. With --scalar, the same without SIMD, to compare
# with: target/worker/scalar.wasm.
# Usage: scripts/build-worker.sh [--scalar]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/wasm.sh

out=$target/worker
name=worker.wasm simd=+simd128
case "${1:-}" in
    --scalar)
        name=scalar.wasm simd=-simd128
        # A folder of its own, lest the two take turns in rebuilding each other.
        export CARGO_TARGET_DIR=$target/scalar
        target=$CARGO_TARGET_DIR
        ;;
    "") ;;
    *) echo "usage: $0 [--scalar]" >&2; exit 2 ;;
esac
build_wasm pop symbols "$simd"
mkdir -p "$out"
made=$(mktemp "$out/.worker.XXXXXX")
trap 'rm -f "$made"' EXIT
optimize_wasm "$built" "$made" "$out/wasm-opt.log"
chmod 644 "$made"
mv "$made" "$out/$name"
echo "$out/$name: $(stat -c %s "$out/$name") bytes, $how"
