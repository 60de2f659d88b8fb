#!/usr/bin/env bash
# Measures the cost of the C interface: packets of 64 bytes in bursts of 64, through C and through Rust in turn, on cores 0 and 1.
#     ci/capi-rate.sh [ROUNDS [SECONDS]]        5 rounds of 3 seconds unless told otherwise
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-3}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
PATH=${CARGO_TARGET_DIR:-$PWD/target}/tools:$PATH cargo cinstall --release -p memif-capi --prefix "$prefix" --libdir "$prefix/lib"
cargo build --release -p memif-capi --example rate
rust=${CARGO_TARGET_DIR:-target}/release/examples/rate
flags=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs libmemif)
# shellcheck disable=SC2086 # several words
gcc -O2 memif-capi/tests/c/bench.c $flags -pthread -o "$prefix/bench"
export LD_LIBRARY_PATH=$prefix/lib
for ((round = 0; round < rounds; round++)); do
    in_c=$("$prefix/bench" "$seconds")
    in_rust=$("$rust" "$seconds")
    printf '%s %s\n' "$in_c" "$in_rust"
done | awk '
    function median(values, count,   i, j, value) {
        for (i = 2; i <= count; i++)
            for (j = i; j > 1 && values[j] < values[j - 1]; j--) { value = values[j]; values[j] = values[j - 1]; values[j - 1] = value }
        return values[int((count + 1) / 2)]
    }
    { printf "C %.2f Mpps, Rust %.2f Mpps: %.3f\n", $1 / 1e6, $2 / 1e6, $1 / $2; c[NR] = $1; rust[NR] = $2; ratio[NR] = $1 / $2 }
    END { printf "medians: C %.2f Mpps, Rust %.2f Mpps, ratio %.3f\n", median(c, NR) / 1e6, median(rust, NR) / 1e6, median(ratio, NR) }'
