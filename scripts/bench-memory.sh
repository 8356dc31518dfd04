#!/usr/bin/env bash
# The most memory that quantize takes to build a model of so many MiB, over the model's size: scripts/bench-memory.sh [MIB]
# The model has 1024 MiB unless said. Needs python3 with onnx and numpy, GNU time, and some 3 times that on the disk.
set -euo pipefail
cd "$(dirname "$0")/.."

mib=${1:-1024}
dir=target/bench/memory
[ -x /usr/bin/time ] || { echo "${0##*/}: GNU time is missing (/usr/bin/time)" >&2; exit 2; }
cargo build --release --workspace --bins >&2
python3 scripts/make_large.py "$dir" "$mib" >&2
rm -rf "$dir/bundle"
/usr/bin/time -f '%M %e' -o "$dir/time" target/release/quantize build --model "$dir/large.onnx" \
    --schema "$dir/features.toml" --catalog "$dir/catalog.jsonl" --calibration "$dir/requests.calibration.jsonl" \
    --gate "$dir/requests.gate.jsonl" --k 10 --out "$dir/bundle" >&2
read -r kib seconds < "$dir/time"
awk -v kib="$kib" -v mib="$mib" -v s="$seconds" \
    'BEGIN { printf "model %d MiB, most memory %d MiB, %.2f times the model, %d s\n", mib, kib / 1024, kib / 1024 / mib, s }'
