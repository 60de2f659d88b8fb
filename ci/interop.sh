#!/usr/bin/env bash
# Traffic with real DPDK peers, which the program fetches from Debian's packages by itself.
#     ci/interop.sh [--no-run]        builds and runs, or builds alone
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ ${1-} == --no-run ]]; then
    cargo build --release -p memif-interop
    cargo build --release -p memif-bench
    exit
fi
cargo run --release -p memif-interop
# the faults of DPDK's sender differ with its age
for suite in trixie sid; do
    cargo run --release -p memif-interop -- --suite "$suite" --only mixed
done
# that the comparison runs and counts: no figure is judged here
cargo run --release -p memif-bench -- peers --size 64,imix --suite bookworm --rounds 1 --warm-up 50 --time 100 --out target/bench/ci
