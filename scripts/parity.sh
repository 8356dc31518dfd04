#!/usr/bin/env bash
# How far the f32 plan, and tract, are from recorded scores: scripts/parity.sh --dir DIR [--schema FILE] [--json FILE]
# DIR is laid out like tests/fixtures/demo: <model>.onnx, catalog.jsonl, golden.json, and features.toml unless --schema
# is given or DIR is a folder of the reference models, whose schema is in tests/fixtures/reference.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

dir="" schema="" pass=()
while [ $# -gt 0 ]; do
    case "$1" in
        --dir) dir="${2:?--dir needs a folder}"; shift 2 ;;
        --schema) schema="${2:?--schema needs a file}"; shift 2 ;;
        *) pass+=("$1"); shift ;;
    esac
done
[ -n "$dir" ] || { echo "usage: $0 --dir DIR [--schema FILE] [--json FILE]" >&2; exit 2; }
if [ -z "$schema" ]; then
    schema="$dir/features.toml"
    [ -f "$schema" ] || schema="$here/tests/fixtures/reference/features.toml"
fi

cargo build --release --quiet --manifest-path "$here/Cargo.toml" --workspace --bins
exec "${CARGO_TARGET_DIR:-$here/target}/release/quantize" parity --dir "$dir" --schema "$schema" ${pass[@]+"${pass[@]}"}
