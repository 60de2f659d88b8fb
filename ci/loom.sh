#!/usr/bin/env bash
# Runs the rings' models under loom, each to its end: every interleaving, and every value that a load may return.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# the models that have to fail print what they found: only worth a look when the step fails
if ! RUSTFLAGS="--cfg loom" cargo test --locked -p memif-ring --release --test loom_ring -- --nocapture >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
models=$(sed -nE 's|^test result: ok\. ([0-9]+) passed.*|\1|p' "$log")
executions=$(grep -E '^[a-z0-9 ]+: [0-9]+ executions$' "$log" | awk '{ sum += $(NF - 1) } END { print sum + 0 }')
echo "loom: $models models, $executions executions in those that must hold"
