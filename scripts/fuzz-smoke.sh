#!/usr/bin/env bash
# Runs every fuzz target for a moment, from its seeds: that they build, start and find nothing at once.
#   scripts/fuzz-smoke.sh [SECONDS]     (per target; default 3)
# For a real campaign: cargo +nightly fuzz, or the same binaries built with coverage, for hours.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}
cargo build --release --workspace --bins
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
demo=tests/fixtures/demo
mkdir -p "$work"/{request,messages,schema,encoding,bundle,delta,rung-toml,headers,onnx,peer}
head -n 3 "$demo/requests.eval.jsonl" | split -l 1 - "$work/request/seed-"
cp "$demo/features.toml" "$work/schema/"
cp tests/fixtures/reference/transforms.toml "$work/schema/"
head -n 1 "$demo/catalog.jsonl" > "$work/encoding/item"
cat > "$work/encoding/request" <<'REQUEST'
{"user":{"id":"u1","history":["m1"],"ratings":7,"country":"de","taste":[1,2,3,4]},"context":{"timestamp":0,"device":"tv","slot":3},"candidates":[]}
REQUEST
head -n 1 "$demo/catalog.jsonl" > "$work/bundle/item"
printf '%s\n{"id":"m2","removed":true}\n' "$(sed -n 3p "$demo/catalog.jsonl")" > "$work/delta/items"
awk '/^```toml/{on=1;next} /^```/{on=0} on' docs/rung-toml.md > "$work/rung-toml/example"
printf 'an-id\n00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nvendor=1' > "$work/headers/known"
for case in cdn-config/tests/golden/*/; do cp "$case/rung.toml" "$work/rung-toml/$(basename "$case")"; done
cp "$demo/movies.onnx" "$work/onnx/"
printf '{"version":"1.2","forms":[{"form":"int8_dynamic","bytes":12},{"form":"int8_static","failed":"why"}]}\n\1\0\0\0\0\0\0\0' > "$work/peer/answers"
for target in request messages schema encoding bundle delta rung-toml headers onnx peer; do
    echo "fuzz-$target"
    "target/release/fuzz-$target" -max_total_time="$seconds" -max_len=524288 -verbosity=0 -print_final_stats=0 \
        -artifact_prefix="$work/" "$work/$target"
done
