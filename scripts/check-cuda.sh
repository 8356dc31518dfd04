#!/usr/bin/env bash
# Builds the origin with the feature `cuda`, on a machine that need not have CUDA, and checks what comes out: its tests, its
# size, that nothing of CUDA is linked, and that it serves, and says what is missing, where there is no GPU.
#   scripts/check-cuda.sh
# Leaves target/cuda/{origin,gpu-check}, which scripts/gpu-check.sh takes to a machine with a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2

features=(--features origin/cuda,rung-tests/cuda)
begun=$SECONDS
cargo build --release --workspace --bins "${features[@]}"
built=$((SECONDS - begun))

# `cargo build` without the feature puts its own programs in their place: these are kept.
mkdir -p target/cuda
for program in origin gpu-check; do
    strip -o "target/cuda/$program" "target/release/$program"
done

# The tests, with the feature: the probe, the loss of a device, and the executor, which is the same program as on a GPU.
cargo test --release --workspace --lib "${features[@]}" --quiet -- device:: guarded:: executor:: service:: gpu::

limit=60
size=$(stat -c %s target/cuda/origin)
linked=$(ldd target/cuda/origin | grep -Eio 'lib(cuda|nvrtc|cublas|nvidia|LLVM)[^ ]*' || true)
echo "built in $built s; target/cuda/origin has $((size / 1000000)) MB stripped (limit $limit); linked with CUDA: ${linked:-nothing}"
[ "$size" -lt $((limit * 1000000)) ] || { echo "check-cuda: too large" >&2; exit 1; }
[ -z "$linked" ] || { echo "check-cuda: CUDA must be found at run time alone" >&2; exit 1; }
target/cuda/gpu-check | tail -n 1
