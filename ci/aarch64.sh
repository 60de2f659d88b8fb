#!/usr/bin/env bash
# Type-checks what is delivered for arm64, the other architecture that peers are built for. Nothing is linked or run.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
if ! rustup target add "$target"; then
    echo "aarch64: NOT checked, as its core library cannot be had here"
    exit 0
fi
cargo check --locked --quiet --target "$target" -p memif-ring -p memif-os -p memif-pmd -p memif-capi -p memif-cli
echo "aarch64: the library crates and the tool compile"
