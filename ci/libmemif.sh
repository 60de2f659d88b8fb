#!/usr/bin/env bash
# Builds libmemif for C programs as a packager does, since packages are made of it, to target/libmemif; and copies it to a folder,
# with the files of pkg-config changed to that.
#     ci/libmemif.sh PREFIX
set -euo pipefail
prefix=$(realpath "$1")
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
export PATH=$target/tools:$PATH
rm -rf "$target/libmemif"
cargo cinstall --locked --release -p memif-capi --destdir "$target/libmemif" --prefix /usr --libdir /usr/lib
cp -a "$target/libmemif/usr/." "$prefix/"
sed -i "s|^prefix=.*|prefix=$prefix|" "$prefix/lib/pkgconfig/libmemif.pc"
