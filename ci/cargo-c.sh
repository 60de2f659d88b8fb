#!/usr/bin/env bash
# Unpacks Debian's cargo-c with all the libraries that it needs into target/tools, without installing anything: to compile it
# takes minutes, and that of an older Debian does not know the edition. Does nothing where there is one already.
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools
! PATH=$tools:$PATH cargo cinstall --version >/dev/null 2>&1 || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# lists of packages of our own, so that nothing of the system changes
mkdir -p "$work"/{lists,archives}/partial "$tools"
: >"$work/status"
mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true)
mirror=$(sed '/security/d; q' <<<"$mirror")
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $cargo_c_suite main" >"$work/sources.list"
apt() {
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache::Archives="$work/archives" -o Dir::Cache::pkgcache= \
        -o Dir::Cache::srcpkgcache= -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::status="$work/status" -o APT::Sandbox::User=root -o APT::Install-Recommends=0 \
        -o Acquire::Languages=none "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
}
apt update
apt install --yes --download-only cargo-c
rm -rf "$tools/cargo-c"
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$tools/cargo-c"; done

# with the C library that it came with, whose loader starts it
cat >"$tools/cargo-cinstall" <<'W'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/cargo-c
libraries=$root/usr/lib/x86_64-linux-gnu
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/bin/cargo-cinstall" "$@"
W
chmod +x "$tools/cargo-cinstall"
PATH=$tools:$PATH cargo cinstall --version
