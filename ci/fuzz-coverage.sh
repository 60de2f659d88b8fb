#!/usr/bin/env bash
# Prints what the fuzz targets reach, from libFuzzer's own counters: edges and features of each target, and edges of each file of the
# library's crates over the functions that the target contains. From the committed seeds, or from the inputs of a longer run:
#     ci/fuzz-coverage.sh [TARGET [DIRECTORY]]
# An edge counts once for each copy of a generic function that the target has, and for the file of the function that it was
# inlined into: the hot loops of memif-ring count for the target's own file, or for that of the queue. Not a part of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh
toolchain=$(nightly)

found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
mkdir "$found/new"
if (($#)); then targets=$1; else targets=$(cargo "+$toolchain" fuzz list); fi
for target in $targets; do
    inputs=${2:-fuzz/corpus/$target}
    if ! cargo "+$toolchain" fuzz run --sanitizer address "$target" "$found/new" "$inputs" -- \
        -runs=0 -timeout=60 -print_coverage=1 >"$found/log" 2>&1; then
        tail -n 60 "$found/log" >&2
        exit 1
    fi
    reached=$(sed -nE 's/.*INITED (cov: [0-9]+ ft: [0-9]+ corp: [0-9]+).*/\1/p' "$found/log")
    all=$(sed -nE 's/.*Loaded 1 PC tables \(([0-9]+) PCs\).*/\1/p' "$found/log")
    echo "$target: $reached; $all edges in the program"
    sed -nE 's|.*COVERED_FUNC: hits: [0-9]+ edges: ([0-9]+)/([0-9]+) .*/(memif-[a-z]+/src/[^ :]+).*|\3 \1 \2|p' "$found/log" |
        awk '{ reached[$1] += $2; all[$1] += $3 }
             END { for (file in all) if (reached[file]) printf "    %-44s %5d of %5d\n", file, reached[file], all[file] }' | sort
done
