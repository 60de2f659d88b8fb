#!/usr/bin/env bash
# Traffic with a real DPDK peer, which the program fetches from Debian's packages by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --release -p memif-interop
