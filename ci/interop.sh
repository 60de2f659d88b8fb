#!/usr/bin/env bash
# Traffic with a real DPDK peer, which the program fetches from Debian's packages by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release -p memif-interop
# that the comparison runs and counts: no figure is judged here
cargo run --release -p memif-bench -- peers --size 64 --burst 64 --rounds 1 --warm-up 50 --time 100 --out target/bench/ci
