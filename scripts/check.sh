#!/usr/bin/env bash
# What people and CI check before the tests, the cheapest first.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh

echo "== fmt"
cargo fmt --all --check

echo "== typos"
if ! command -v typos > /dev/null && [ ! -x target/tools/bin/typos ]; then
    python3 -m venv target/tools 2> /dev/null && target/tools/bin/pip install -q typos==1.52.0 ||
        cargo install --locked typos-cli --root target/tools
fi
PATH="$PATH:$PWD/target/tools/bin" typos

echo "== clippy"
cargo clippy --release --workspace --all-targets -- -D warnings

echo "== docs"
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet

echo "== worker: lints of its ABI"
scripts/build-worker.sh
cargo clippy --release --target wasm32-unknown-unknown -p edge-worker --features pop -- -D warnings
cargo clippy --release --target wasm32-unknown-unknown -p edge-worker --features web -- -D warnings

# These two are tests; the whole workspace is built for them, as scripts/test.sh does, so that it happens once.
echo "== worker: imports, exports, size; layers"
cargo test --release --workspace --quiet -- guest::worker_file:: layers::
