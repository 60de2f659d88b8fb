#!/usr/bin/env bash
# Links memif-ring into a program without std, alloc, C library and dynamic linker, and runs it.
set -euo pipefail
cd "$(dirname "$0")/../memif-ring/no-std-proof"

tree=$(cargo tree --locked -e normal,features --prefix none)
features=$(grep -E ' feature "(std|alloc)"' <<<"$tree" || true)
if [[ -n $features ]]; then
    echo "no-std: a dependency of memif-ring has std or alloc switched on: $features" >&2
    exit 1
fi

cargo build --locked --release --quiet
program=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/no-std-proof
headers=$(readelf --dynamic --program-headers "$program")
dynamic=$(grep -E 'NEEDED|INTERP' <<<"$headers" || true)
if [[ -n $dynamic ]]; then
    echo "no-std: the program is linked dynamically: $dynamic" >&2
    exit 1
fi

status=0
"$program" || status=$?
if [[ $status -ne 0 ]]; then
    echo "no-std: step $status went wrong, see no-std-proof/src/main.rs (101: a panic)" >&2
    exit 1
fi
size=$(stat -c %s "$program")
echo "no-std: a freestanding program of $size bytes moved packets both ways"
