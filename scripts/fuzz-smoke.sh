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
mkdir -p "$work"/{request,messages,schema,bundle,delta,rung-toml}
head -n 3 "$demo/requests.eval.jsonl" | split -l 1 - "$work/request/seed-"
cp "$demo/features.toml" "$work/schema/"
head -n 1 "$demo/catalog.jsonl" > "$work/bundle/item"
printf '%s\n{"id":"m2","removed":true}\n' "$(sed -n 3p "$demo/catalog.jsonl")" > "$work/delta/items"
awk '/^```toml/{on=1;next} /^```/{on=0} on' docs/rung-toml.md > "$work/rung-toml/example"
for target in request messages schema bundle delta rung-toml; do
    echo "fuzz-$target"
    "target/release/fuzz-$target" -max_total_time="$seconds" -max_len=65536 -verbosity=0 -print_final_stats=0 \
        -artifact_prefix="$work/" "$work/$target"
done
