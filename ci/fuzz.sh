#!/usr/bin/env bash
# Runs each fuzz target for a while, from its committed seeds, under AddressSanitizer: ci/fuzz.sh [SECONDS each, 8].
# Needs what ci/install.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh
toolchain=$(nightly)
seconds=${1:-8}

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
cargo "+$toolchain" fuzz build --sanitizer address 2>"$found/build" || { cat "$found/build" >&2; exit 1; }

runs=0
# glibc's list of destructors of a thread that is just ending is not reachable for the leak check
echo 'leak:__cxa_thread_atexit_impl' >"$found/leaks"
export LSAN_OPTIONS="suppressions=$found/leaks:print_suppressions=0"
targets=$(cargo "+$toolchain" fuzz list)
if [[ -z $targets ]]; then
    echo "fuzz: no targets" >&2
    exit 1
fi
for target in $targets; do
    mkdir -p "$found/$target"
    if ! cargo "+$toolchain" fuzz run --sanitizer address "$target" "$found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -len_control=0 -print_final_stats=1 >"$found/log" 2>&1; then
        tail -n 60 "$found/log" >&2
        echo "fuzz: $target found something, see fuzz/artifacts/$target" >&2
        exit 1
    fi
    units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log")
    runs=$((runs + units))
done
count=$(wc -w <<<"$targets")
echo "fuzz: $count targets, ${seconds} s each, $runs runs, nothing found"
