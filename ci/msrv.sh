#!/usr/bin/env bash
# Compiles the published crates with the oldest Rust that they claim to support: `rust-version` of Cargo.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
used=$(rustc --version)
if [[ $used == "rustc $oldest."* ]]; then
    echo "msrv: $oldest is what all checks use"
    exit 0
fi
if ! rustup run "$oldest" cargo --version >/dev/null 2>&1 && ! rustup toolchain install "$oldest" --profile minimal; then
    echo "msrv: $oldest NOT checked, as that toolchain cannot be had here"
    exit 0
fi
# a folder of its own: that of another compiler would be built again
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv rustup run "$oldest" cargo check --locked --quiet --workspace \
    --exclude memif-interop --exclude memif-bench --exclude source-check
echo "msrv: what is published compiles with $oldest"
