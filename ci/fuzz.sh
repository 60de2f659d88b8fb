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
fuzz=(cargo "+$toolchain" fuzz run --sanitizer address)
for target in $targets; do
    artifacts=$found/artifacts/$target
    mkdir -p "$found/$target" "$artifacts"
    if ! "${fuzz[@]}" "$target" "$found/$target" "fuzz/corpus/$target" -- -artifact_prefix="$artifacts/" \
        -max_total_time="$seconds" -timeout=60 -len_control=0 -print_final_stats=1 >"$found/log" 2>&1; then
        # the leak check does not see what only a thread holds that is just starting; a leak comes again
        leak=$(find "$artifacts" -name 'leak-*')
        again=$([[ -n $leak ]] || echo yes)
        for ((turn = 0; turn < 3 && ${#again} == 0; turn++)); do
            "${fuzz[@]}" "$target" "$leak" >>"$found/log" 2>&1 || again=yes
        done
        if [[ -n $again ]]; then
            tail -n 60 "$found/log" >&2
            mkdir -p "fuzz/artifacts/$target"
            cp "$artifacts"/* "fuzz/artifacts/$target/"
            echo "fuzz: $target found something, see fuzz/artifacts/$target" >&2
            exit 1
        fi
        echo "fuzz: $target: a leak that three repetitions do not show"
    fi
    units=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log")
    runs=$((runs + units))
done
count=$(wc -w <<<"$targets")
echo "fuzz: $count targets, ${seconds} s each, $runs runs, nothing found"
