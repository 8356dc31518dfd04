#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has Rust: a C compiler, curl, Node for the tests of the package for
# JavaScript; and, where there is npm, a recent wasm-opt, without which workers are larger. Everything else is a crate.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v cc > /dev/null || missing+=(build-essential)
command -v c++ > /dev/null || missing+=(build-essential)
command -v curl > /dev/null || missing+=(curl)
command -v node > /dev/null || missing+=(nodejs)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

command -v cargo > /dev/null || { echo "setup: cargo is not on the PATH; install Rust from https://rustup.rs" >&2; exit 2; }

optimizer=target/tools/binaryen
if ! command -v wasm-opt > /dev/null && [ ! -x $optimizer/node_modules/.bin/wasm-opt ] && command -v npm > /dev/null; then
    npm install --silent --no-fund --no-audit --no-save --prefix $optimizer binaryen@132.0.0 >&2 ||
        echo "setup: npm cannot install binaryen: workers are left as rustc makes them" >&2
fi
