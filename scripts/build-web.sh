#!/usr/bin/env bash
# Builds the npm package @rung/edge, the worker for Node, browsers and CDN runtimes: target/web.
# Usage: scripts/build-web.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/wasm.sh

# Of the whole workspace, as everything else is built: a part of it would want other features of the same dependencies.
cargo build --release --workspace --bin rung-bindgen
# With names: what writes the JavaScript reads them, and leaves them out.
build_wasm web debuginfo
out=$target/web
made=$(mktemp -d "$target/.web.XXXXXX")
trap 'rm -rf "$made"' EXIT
"$target/release/rung-bindgen" "$built" "$made" rung_edge
mv "$made/rung_edge_bg.wasm" "$made/bindgen.wasm"
# Versions before 110 mix up the module's tables.
optimize_wasm "$made/bindgen.wasm" "$made/rung_edge_bg.wasm" "$target/web-wasm-opt.log" 110
rm "$made/bindgen.wasm"
cp edge-worker/guest/web/* LICENSE-APACHE LICENSE-MIT "$made/"
chmod -R u=rwX,go=rX "$made"
rm -rf "$out"
mv "$made" "$out"
trap - EXIT
echo "$out: $(stat -c %s "$out/rung_edge_bg.wasm") bytes of WASM, $how"
