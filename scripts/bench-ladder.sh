#!/usr/bin/env bash
# Shares, errors and bytes of every class of answers at several α, and 2,000 simulated certifications.
#   scripts/bench-ladder.sh --dir DIR [--features FILE] [--models "A B"] [--draws N] [--json FILE]
# DIR is laid out like ../shared/models. Bundles are kept under target/bench until what they are made by or of is newer.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2

dir="" features=tests/fixtures/reference/features.toml models="dlrm dcn din bst" pass=()
while [ $# -gt 0 ]; do
    case "$1" in
        --dir) dir="${2:?--dir needs a folder}"; shift 2 ;;
        --features) features="${2:?--features needs a file}"; shift 2 ;;
        --models) models="${2:?--models needs names}"; shift 2 ;;
        *) pass+=("$1"); shift ;;
    esac
done
[ -n "$dir" ] || { echo "usage: $0 --dir DIR [--features FILE] [--models NAMES] [--draws N] [--json FILE]" >&2; exit 2; }

cargo build --release --workspace --bins
bundles=()
for model in $models; do
    bundle=target/bench/$model
    fresh=yes
    for source in target/release/quantize target/worker/worker.wasm "$features" "$dir/$model.onnx" "$dir/catalog.jsonl" \
        "$dir/requests.calibration.jsonl" "$dir/requests.gate.jsonl"; do
        [ "$bundle/manifest.json" -nt "$source" ] || fresh=no
    done
    # Another DIR may have older files of the same names.
    [ "$(cat "$bundle.dir" 2> /dev/null)" = "$(realpath "$dir") $(realpath "$features")" ] || fresh=no
    if [ $fresh = no ]; then
        rm -rf "$bundle"
        target/release/quantize build --model "$dir/$model.onnx" --schema "$features" --catalog "$dir/catalog.jsonl" \
            --calibration "$dir/requests.calibration.jsonl" --gate "$dir/requests.gate.jsonl" --k 10 --out "$bundle" >&2
        echo "$(realpath "$dir") $(realpath "$features")" > "$bundle.dir"
    fi
    bundles+=("$model=$bundle")
done
exec target/release/bench-ladder --dir "$dir" "${bundles[@]}" ${pass[@]+"${pass[@]}"}
