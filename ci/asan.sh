#!/usr/bin/env bash
# The tests that share memory between processes or with hostile peers, under AddressSanitizer and LeakSanitizer: the
# fuzz targets never see a mapping that a peer changes, a page that vanishes, or a process that dies.
# Needs what ci/install.sh installs.
#     ci/asan.sh [--no-run]        builds and runs them, or builds alone
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh
toolchain=$(nightly)

# a folder of its own: the flags would have everything else built again
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
export RUSTFLAGS="-Zsanitizer=address --cfg asan"
# SIGBUS is ours: peers take pages away on purpose, and our handler passes on what it does not know
export ASAN_OPTIONS="detect_leaks=1:handle_sigbus=0:detect_stack_use_after_return=1"
export MEMIF_KILLS=10

programs=()
for program in memif-pmd/tests/{hostile_*,kills,leaks,soak}.rs; do
    programs+=(--test "$(basename "$program" .rs)")
done
# a target that is named keeps the sanitizer out of build scripts and macros
target=$(rustc -vV | sed -n 's/^host: //p')
test_in() { cargo "+$toolchain" test --locked --quiet --target "$target" "$@"; }
if [[ ${1-} == --no-run ]]; then
    test_in --no-run -p memif-os --tests
    test_in --no-run -p memif-pmd --lib "${programs[@]}"
    exit
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
test_in -p memif-os --tests 2>&1 | tee -a "$log"
test_in -p memif-pmd --lib "${programs[@]}" 2>&1 | tee -a "$log"
# also when it happened in a process that a test started and did not wait for
if grep -E 'AddressSanitizer|LeakSanitizer' "$log" >&2; then
    exit 1
fi
tests=$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
if ((tests == 0)); then
    echo "asan: no tests ran" >&2
    exit 1
fi
echo "asan: $tests tests, nothing found"
