#!/usr/bin/env bash
# Runs the models of the rings, of the queues and of the C library's deletes under loom: every interleaving, and every value
# that a load may return. Where three threads meet on a ring the interleavings are bounded, as the model says.
set -euo pipefail
cd "$(dirname "$0")/.."
# a folder of its own: the flags would have everything else built again
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
# optimised, but built in seconds
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# the models that have to fail print what they found: only worth a look when the step fails
model() {
    if ! RUST_BACKTRACE=0 RUSTFLAGS="--cfg loom" cargo test --locked --release "$@" -- --nocapture >>"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
}
model -p memif-ring --test loom_ring
model -p memif-pmd --lib queue::loom_
model -p memif-capi --lib loom_tests
models=$(sed -nE 's|^test result: ok\. ([0-9]+) passed.*|\1|p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
executions=$(grep -E '^[a-z0-9 ]+: [0-9]+ executions$' "$log" | awk '{ sum += $(NF - 1) } END { print sum + 0 }')
if grep -q '^test result: ok\. 0 passed' "$log"; then
    echo "loom: a run without a model" >&2
    exit 1
fi
echo "loom: $models models, $executions executions in those that must hold"
