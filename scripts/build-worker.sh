#!/usr/bin/env bash
# Builds the WASM worker that pop hosts: target/worker/worker.wasm.
# Usage: scripts/build-worker.sh
# wasm-opt makes it smaller where a recent one is at hand (RUNG_WASM_OPT=/path, or on PATH); without one it works alike.
set -euo pipefail
cd "$(dirname "$0")/.."

triple=wasm32-unknown-unknown
target=${CARGO_TARGET_DIR:-target}
out=$target/worker
sysroot=$(rustc --print sysroot)

# The standard library for wasm: from rustup, or, where its downloads do not get through, from the library's source.
std=()
if [ ! -d "$sysroot/lib/rustlib/$triple/lib" ]; then
    if ! { command -v rustup >/dev/null && rustup target add "$triple" >&2; }; then
        if [ ! -e "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]; then
            echo "build-worker: the target $triple is missing and rustup cannot add it." >&2
            echo "build-worker: install the library's source (rustup component add rust-src, or Debian's rust-src" >&2
            echo "build-worker: unpacked as $sysroot/lib/rustlib/src/rust/library) and run this again." >&2
            exit 2
        fi
        export RUSTC_BOOTSTRAP=1
        std=(-Zbuild-std=std,panic_abort)
    fi
fi

# Settings of the worker alone, so that the host's dependencies are not compiled a second time for them.
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=+simd128"
cargo build --release --target "$triple" -p edge-worker --lib --features pop "${std[@]}" \
    --config 'profile.release.lto="fat"' \
    --config 'profile.release.codegen-units=1' \
    --config 'profile.release.panic="abort"' \
    --config 'profile.release.strip=true'

mkdir -p "$out"
built=$target/$triple/release/edge_worker.wasm
made=$(mktemp "$out/.worker.XXXXXX")
trap 'rm -f "$made"' EXIT

# Named one by one: wasm-opt must neither use a feature that a runtime may lack nor refuse one that rustc uses.
features=(--enable-bulk-memory --enable-mutable-globals --enable-multivalue --enable-nontrapping-float-to-int
    --enable-reference-types --enable-sign-ext --enable-simd)
optimize=${RUNG_WASM_OPT:-$(command -v wasm-opt || true)}
if [ -n "$optimize" ] && "$optimize" "${features[@]}" -O3 "$built" -o "$made" 2>"$out/wasm-opt.log"; then
    how="by $("$optimize" --version)"
else
    [ -z "$optimize" ] || echo "build-worker: $optimize cannot optimize it (see $out/wasm-opt.log): left as rustc made it" >&2
    cp "$built" "$made"
    how="as rustc made it"
fi
chmod 644 "$made"
mv "$made" "$out/worker.wasm"
echo "$out/worker.wasm: $(stat -c %s "$out/worker.wasm") bytes, $how"
