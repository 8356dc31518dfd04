# For the scripts that build the worker (source it, in the repository's root): the target, its settings, wasm-opt.
# shellcheck shell=bash

triple=wasm32-unknown-unknown
target=${CARGO_TARGET_DIR:-target}

# Builds the worker with one feature, as $built, stripped of its symbols or its debuginfo alone; with other SIMD if told so.
build_wasm() {
    local feature=$1 strip=$2 simd=${3:-+simd128} sysroot std=()
    sysroot=$(rustc --print sysroot)
    # The standard library for wasm: from rustup, or, where its downloads do not get through, from the library's source.
    if [ ! -d "$sysroot/lib/rustlib/$triple/lib" ]; then
        if ! { command -v rustup >/dev/null && rustup target add "$triple" >&2; }; then
            if [ ! -e "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]; then
                echo "${0##*/}: the target $triple is missing and rustup cannot add it." >&2
                echo "${0##*/}: install the library's source (rustup component add rust-src, or Debian's rust-src" >&2
                echo "${0##*/}: unpacked as $sysroot/lib/rustlib/src/rust/library) and run this again." >&2
                exit 2
            fi
            export RUSTC_BOOTSTRAP=1
            std=(-Zbuild-std=std,panic_abort)
        fi
    fi

    # Settings of the worker alone, so that the host's dependencies are not compiled a second time for them.
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-feature=$simd"
    cargo build --release --target "$triple" -p edge-worker --lib --features "$feature" "${std[@]}" \
        --config 'profile.release.lto="fat"' \
        --config 'profile.release.codegen-units=1' \
        --config 'profile.release.panic="abort"' \
        --config "profile.release.strip=\"$strip\""
    built=$target/$triple/release/edge_worker.wasm
}

# Writes a module that does the same and is smaller, if a recent wasm-opt is at hand (RUNG_WASM_OPT=/path, or on PATH, or
# where setup.sh puts it; $oldest is the first version that will do); without one it works alike. Says how in $how.
optimize_wasm() {
    local from=$1 to=$2 log=$3 oldest=${4:-0} features optimize version
    # Named one by one: wasm-opt must neither use a feature that a runtime may lack nor refuse one that rustc uses.
    features=(--enable-bulk-memory --enable-mutable-globals --enable-multivalue --enable-nontrapping-float-to-int
        --enable-reference-types --enable-sign-ext --enable-simd)
    [[ ${CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS:-} != *relaxed* ]] || features+=(--enable-relaxed-simd)
    [ "${kind:-}" != named ] || features+=(--debuginfo)
    cp "$from" "$to"
    how="as rustc made it"
    optimize=${RUNG_WASM_OPT:-$(command -v wasm-opt || command -v target/tools/binaryen/node_modules/.bin/wasm-opt || true)}
    [ -n "$optimize" ] || return 0
    version=$("$optimize" --version | grep -o '[0-9]\+' | head -n 1)
    if [ "${version:-0}" -lt "$oldest" ]; then
        echo "${0##*/}: $optimize is version ${version:-unknown}, $oldest or later is needed: left as rustc made it" >&2
    # From -O2 on it orders a loop's instructions anew, and V8 runs out of registers: 1.2 to 1.4 times slower.
    # Constants added to addresses go into the loads: rustc leaves them, for the sum might wrap around; an address that did
    # would lie in the first KiB, which is the end of the stack.
    elif "$optimize" "${features[@]}" --low-memory-unused --optimize-added-constants -O1 "$from" -o "$to" 2>"$log"; then
        how="by wasm-opt version $version"
    else
        echo "${0##*/}: $optimize cannot optimize it (see $log): left as rustc made it" >&2
        cp "$from" "$to"
    fi
}
