#!/usr/bin/env bash
# The package @rung/edge in the runtimes it is for: the repo's own requests give what they give in Node, to the bit.
#   scripts/runtimes.sh [--json FILE]
# Chromium: CHROMIUM=/path, or on PATH (Debian's chromium). workerd, Cloudflare's runtime: WORKERD=/path, or npm's.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
cargo build --release --workspace --bins
scripts/build-web.sh
scripts/test-bundle.sh

export CHROMIUM=${CHROMIUM:-$(command -v chromium || true)}
tools=target/tools/workerd
if [ -z "${WORKERD:-}" ] && command -v npm > /dev/null; then
    [ -x "$tools/node_modules/.bin/workerd" ] ||
        npm install --silent --no-fund --no-audit --no-save --prefix "$tools" workerd@1.20261117.1 ||
        echo "runtimes: npm cannot install workerd" >&2
    [ ! -x "$tools/node_modules/.bin/workerd" ] || WORKERD=$tools/node_modules/.bin/workerd
fi
export WORKERD=${WORKERD:-}
node tests/web/runtimes.mjs target/web target/test-bundle "$@"
