#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: is the origin right there, is f32 f32, and how fast is it, beside the same machine's CPU
# and, where python3 has torch, beside PyTorch. Builds nothing: scripts/check-cuda.sh does, on any machine.
#   scripts/gpu-check.sh [--dir DIR [--schema FILE]] [--json FILE] [--index N] [--binary FILE]
# DIR has models with recorded scores, like ../shared/models; the repo's own model is always checked. Without a GPU it
# says what is missing, and every row is null. Exit status: 0 all bars met or no GPU, 1 a bar missed, 2 a file.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=target/cuda/gpu-check dirs=(tests/fixtures/demo) pass=() schema=""
while [ $# -gt 0 ]; do
    case "$1" in
        --binary) binary="${2:?--binary needs a file}"; shift 2 ;;
        --dir) dirs+=("${2:?--dir needs a folder}"); pass+=(--dir "$2"); shift 2 ;;
        --schema) schema="${2:?--schema needs a file}"; shift 2 ;;
        *) pass+=("$1"); shift ;;
    esac
done
[ -x "$binary" ] || { echo "${0##*/}: there is no $binary: scripts/check-cuda.sh builds it" >&2; exit 2; }
if [ ${#dirs[@]} -gt 1 ]; then
    # The reference models' schema is the repo's.
    [ -n "$schema" ] || [ -f "${dirs[1]}/features.toml" ] || schema=tests/fixtures/reference/features.toml
    [ -z "$schema" ] || pass+=(--schema "$schema")
fi

peer=$(mktemp)
trap 'rm -f "$peer"' EXIT
if python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    if python3 scripts/gpu_peer.py --json "$peer" "${dirs[@]}" >&2; then pass+=(--peer "$peer"); fi
else
    echo "${0##*/}: python3 has no torch that sees a GPU: no rows of PyTorch" >&2
fi
"$binary" ${pass[@]+"${pass[@]}"}
