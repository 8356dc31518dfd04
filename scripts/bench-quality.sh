#!/usr/bin/env bash
# How well quantized variants rank beside full precision, on requests that no step of a build has seen: agreement, NDCG and
# AUC by variant, answers and errors by class, on random and popular candidates. Builds each model's bundle three times.
#   scripts/bench-quality.sh --dir DIR [--features FILE] [--models "A B"] [--json FILE]
# DIR is laid out like ../shared/models.
set -euo pipefail
cd "$(dirname "$0")/.."

dir="" features=tests/fixtures/reference/features.toml models="dlrm dcn din bst" pass=()
while [ $# -gt 0 ]; do
    case "$1" in
        --dir) dir="${2:?--dir needs a folder}"; shift 2 ;;
        --features) features="${2:?--features needs a file}"; shift 2 ;;
        --models) models="${2:?--models needs names}"; shift 2 ;;
        *) pass+=("$1"); shift ;;
    esac
done
[ -n "$dir" ] || { echo "usage: $0 --dir DIR [--features FILE] [--models NAMES] [--json FILE]" >&2; exit 2; }

scripts/setup.sh >&2
scripts/build-worker.sh >&2
# All of the workspace, as the tests do: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bins
# shellcheck disable=SC2086 # several names
exec target/release/bench-quality --dir "$dir" --features "$features" ${pass[@]+"${pass[@]}"} --models $models
