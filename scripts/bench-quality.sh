#!/usr/bin/env bash
# How well quantized variants rank beside full precision, on requests that no step of a build has seen: agreement, NDCG and
# AUC by variant, answers and errors by class, on random and popular candidates. Builds each model's bundle three times.
#   scripts/bench-quality.sh [--dir DIR] [--features FILE] [--models "A B"] [--json FILE]
# DIR is laid out like ../shared/models, which it is unless said.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh >&2
scripts/build-worker.sh >&2
# All of the workspace, as the tests do: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bins
case " $* " in *" --dir "*) ;; *) set -- --dir ../shared/models "$@" ;; esac
exec target/release/bench-quality "$@"
