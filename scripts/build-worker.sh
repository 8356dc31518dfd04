#!/usr/bin/env bash
# Builds the WASM worker that pop hosts: target/worker/worker.wasm. It has relaxed SIMD, as pop's runtime does.
#   --simd128  the same for runtimes without relaxed SIMD: target/worker/simd128.wasm
#   --scalar   the same without SIMD, to compare with: target/worker/scalar.wasm
#   --named    the same with the names of its functions, to look into: target/worker/named.wasm
# All of them give the same scores, bit by bit.
# Usage: scripts/build-worker.sh [--simd128 | --scalar | --named]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/wasm.sh

out=$target/worker
simd=+simd128,+relaxed-simd kind=worker strip=symbols
case "${1:-}" in
    --simd128) simd=+simd128 kind=simd128 ;;
    --scalar) simd=-simd128 kind=scalar ;;
    --named) strip=debuginfo kind=named ;;
    "") ;;
    *) echo "usage: $0 [--simd128 | --scalar | --named]" >&2; exit 2 ;;
esac
name=$kind.wasm
if [ $kind != worker ]; then
    # A folder of its own, lest they take turns in rebuilding each other.
    export CARGO_TARGET_DIR=$target/$kind
    target=$CARGO_TARGET_DIR
fi
build_wasm pop $strip "$simd"
mkdir -p "$out"
made=$(mktemp "$out/.worker.XXXXXX")
trap 'rm -f "$made"' EXIT
optimize_wasm "$built" "$made" "$out/wasm-opt.log"
chmod 644 "$made"
mv "$made" "$out/$name"
echo "$out/$name: $(stat -c %s "$out/$name") bytes, $how"
