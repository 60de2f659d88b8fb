#!/usr/bin/env bash
# The unit tests of memif-ring under Miri, which finds undefined behaviour: access that is out of bounds, not aligned, not
# initialised, aliased, or a data race. Not a part of .ci/run, as it needs Miri: rustup +nightly component add miri rust-src.
# Exits with 2 where Miri is missing: then nothing was checked.
#
# Only memif-ring runs: the other crates make system calls that Miri does not know (memfds, sockets, eventfds). Shared memory
# is memory of the same process there, and vector instructions are those that Miri has.
#     ci/miri.sh [arguments of cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh
toolchain=$(nightly)

if ! cargo "+$toolchain" miri --version >/dev/null 2>&1; then
    echo "miri: not installed, nothing was checked: rustup +nightly component add miri rust-src" >&2
    exit 2
fi
# Miri is slow: few cases of each property
export PROPTEST_CASES="${PROPTEST_CASES:-4}"
# proptest looks for files of failed cases; integers become pointers where a region is attached
export MIRIFLAGS="${MIRIFLAGS:--Zmiri-disable-isolation -Zmiri-permissive-provenance}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo "+$toolchain" miri test --locked -p memif-ring --lib "$@" 2>&1 | tee "$log"
tests=$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
if ((tests == 0)); then
    echo "miri: no tests ran" >&2
    exit 1
fi
echo "miri: $tests tests, nothing found"
