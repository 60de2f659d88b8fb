#!/usr/bin/env bash
# Builds libmemif and installs it, shared and static, with headers and pkg-config files:
#     memif-capi/install.sh PREFIX
#     cc app.c $(pkg-config --cflags --libs libmemif)                     4.0; libmemif-1.0 for 1.0
#     cc -static app.c $(pkg-config --static --cflags --libs libmemif)
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: $0 PREFIX" >&2
    exit 2
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

cargo build --release -p memif-capi
built=${CARGO_TARGET_DIR:-target}/release

install -d "$prefix/lib/pkgconfig" "$prefix/include/libmemif-1.0"
install -m 755 "$built/libmemif.so" "$prefix/lib/libmemif.so.4"
ln -sf libmemif.so.4 "$prefix/lib/libmemif.so"
install -m 644 "$built/libmemif.a" "$prefix/lib/"
install -m 644 memif-capi/include/*.h "$prefix/include/"
install -m 644 memif-capi/include/libmemif-1.0/*.h "$prefix/include/libmemif-1.0/"

# NAME VERSION INCLUDEDIR
pkg_config() {
    cat >"$prefix/lib/pkgconfig/$1.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib
includedir=$3

Name: $1
Description: memif packet interfaces, with the programming interface of libmemif $2
Version: $2
Cflags: -I\${includedir}
Libs: -L\${libdir} -lmemif
Libs.private: -lutil -lrt -lpthread -lm -ldl
END
}
pkg_config libmemif 4.0 "\${prefix}/include"
pkg_config libmemif-1.0 1.0 "\${prefix}/include/libmemif-1.0"
