#!/usr/bin/env bash
# Every fault of docs/testing.md, in real processes, those too heavy for every run included, and the list of results.
#   scripts/faults.sh [NAME...]     (parts of names; all of them by default)
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh >&2

# Ten thousand connections are as many descriptors in the test and in the edge.
needed=11000
hard=$(ulimit -Hn)
if [ "$hard" != unlimited ] && [ "$hard" -lt "$needed" ]; then
    echo "${0##*/}: $needed open files are needed and the hard limit is $hard: raise it (ulimit -Hn, LimitNOFILE=)" >&2
    exit 2
fi
soft=$(ulimit -Sn)
if [ "$soft" != unlimited ] && [ "$soft" -lt "$needed" ]; then ulimit -Sn "$needed"; fi

scripts/build-worker.sh >&2
cargo build --release --workspace --bins >&2
scripts/test-bundle.sh >&2

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
if cargo nextest --version > /dev/null 2>&1; then
    names=''
    for name in "$@"; do names="$names${names:+ + }test($name)"; done
    cargo nextest run --release --workspace --run-ignored all --no-fail-fast --color never \
        -E "test(/^faults::/)${names:+ & ($names)}" 2>&1 | tee "$log" >&2 || status=$?
    # A line of nextest: `PASS [   1.234s] (1/9) rung-tests::e2e faults::guest::name`; failures come again at its end.
    list=$(sed -nE 's/^ *(PASS|FAIL|TIMEOUT|ABORT|SIG[A-Z]+) +\[ *([0-9.]+)s\].* faults::([a-z_0-9:]+)$/\1 \2 \3/p' "$log" | sort -u -k3,3)
else
    filters=(faults::)
    [ $# -eq 0 ] || filters=("$@")
    cargo test --release --workspace --test e2e --no-fail-fast -- --include-ignored --test-threads 2 "${filters[@]}" \
        2>&1 | tee "$log" >&2 || status=$?
    list=$(sed -nE 's/^test faults::([a-z_0-9:]+) (- .*)?\.\.\. ([a-zA-Z]+).*$/\3 - \1/p' "$log" | sed 's/^ok/PASS/' | sort -k3,3)
fi
printf '%s\n' "$list" | awk 'NF { printf "%-7s %8s  %s\n", $1, $2 == "-" ? "" : $2 " s", $3; n++; if ($1 == "PASS") good++ }
    END { printf "%d of %d\n", good, n }'
exit "$status"
