#!/usr/bin/env bash
# Makes a target's seeds from the inputs that a longer run has found: fuzz/seeds.sh TARGET DIRECTORY.
set -euo pipefail
target=$1
inputs=$(realpath "$2")
cd "$(dirname "$0")/.."
source ci/versions.sh
toolchain=$(nightly)

chosen=$(mktemp -d)
trap 'rm -rf "$chosen"' EXIT
cargo "+$toolchain" fuzz run "$target" "$chosen" "$inputs" -- -set_cover_merge=1 2>/dev/null
mkdir -p "fuzz/corpus/$target"
find "fuzz/corpus/$target" -type f ! -name 'indices-wrap-*' -delete
# the ones that cover most are the largest
find "$chosen" -type f -printf '%s %p\n' | sort -rn | awk 'NR <= 20' | while read -r _ file; do
    cp "$file" "fuzz/corpus/$target/"
done
count=$(find "fuzz/corpus/$target" -type f | wc -l)
echo "seeds: $target has $count"
