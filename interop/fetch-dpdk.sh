#!/bin/bash
# Unpacks DPDK's testpmd and its memif driver from Debian's packages into a folder, without installing anything:
# installing package dpdk would bring udev and RDMA with it.
#   fetch-dpdk.sh DEST [SUITE]
#       SUITE: bookworm (DPDK 22.11, the default), trixie (24.11) or sid (25.11); the newer ones bring their C library
#       leaves DEST/testpmd, a wrapper to run; does nothing when that is there and starts
set -euo pipefail

fail() { echo "fetch-dpdk: $*" >&2; exit 1; }

[[ $# -eq 1 || $# -eq 2 ]] || fail "usage: fetch-dpdk.sh DEST [SUITE]"
suite=${2:-bookworm}
mkdir -p "$1" || fail "cannot make folder $1"
dest=$(cd "$1" && pwd)
if [[ -x $dest/testpmd ]] && "$dest/testpmd" --help >/dev/null 2>&1; then exit 0; fi
for tool in apt-get apt-cache dpkg-deb ldd stdbuf; do
    command -v "$tool" >/dev/null || fail "needs $tool: run this on Debian 12, or unpack a testpmd into $dest yourself"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# lists of packages of our own, so that nothing of the system changes
mkdir -p lists/partial archives/partial
mirror=$(sed -n 's/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -v security | head -n 1 || true)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main" >sources.list
options=(-o "Dir::State::Lists=$work/lists" -o "Dir::Cache::Archives=$work/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::status=/dev/null
    -o APT::Sandbox::User=root -o Acquire::Languages=none)
apt-get "${options[@]}" update >apt.log 2>&1 || { cat apt.log >&2; fail "cannot read the lists of Debian's $suite"; }

# testpmd, all of DPDK's libraries, the two drivers that are loaded by name, and what these are linked with
abi=$(apt-cache "${options[@]}" pkgnames librte-net-memif | sed 's/[^0-9]//g' | sort -n | tail -n 1)
[[ -n $abi ]] || fail "no package librte-net-memif in Debian's $suite"
needed='libibverbs1|ibverbs-providers|libnl-(3|route-3)-200|libpcap0.8(t64)?|libdbus-1-3|libjansson4|libfdt1|libelf1(t64)?'
needed+='|libbsd0|libmd0|libnuma1|libxdp1|libbpf1|libarchive13(t64)?'
apt-cache "${options[@]}" pkgnames >names
grep -xE "librte-.*[a-z-]$abi|librte-.*-$abi|$needed" names >packages
mapfile -t packages <packages
packages+=(dpdk-dev)
if [[ $suite != bookworm ]]; then
    packages+=(libc6 libgcc-s1 libstdc++6 zlib1g libzstd1 libssl3t64 libcap2 libsystemd0 liblz4-1 liblzma5)
fi
apt-get "${options[@]}" download "${packages[@]}" >apt.log 2>&1 || { cat apt.log >&2; fail "apt-get download failed"; }
for deb in *.deb; do dpkg-deb -x "$deb" unpacked || fail "cannot unpack $deb"; done

libraries=unpacked/usr/lib/x86_64-linux-gnu
program=unpacked/usr/bin/dpdk-testpmd
drivers=("librte_mempool_ring.so.$abi" "librte_net_memif.so.$abi")
[[ -x $program ]] || fail "package dpdk-dev holds no dpdk-testpmd"
for driver in "${drivers[@]}"; do
    [[ -e $libraries/$driver ]] || fail "no driver $driver among the packages"
done

rm -rf "${dest:?}/bin" "${dest:?}/lib" "${dest:?}/testpmd"
mkdir -p "$dest/bin" "$dest/lib"
# the whole folder: some of its libraries are links to drivers in a folder below
cp -a "$libraries"/. "$dest/lib/"
[[ ! -d unpacked/lib/x86_64-linux-gnu ]] || cp -a unpacked/lib/x86_64-linux-gnu/. "$dest/lib/"
cp "$program" "$dest/bin/"
# Libraries of a newer C library are for its own loader alone.
if [[ -e $dest/lib/ld-linux-x86-64.so.2 ]]; then
    # shellcheck disable=SC2016 # for the wrapper
    start='"$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" "$here/bin/dpdk-testpmd"'
else
    # shellcheck disable=SC2016 # for the wrapper
    start='env LD_LIBRARY_PATH="$here/lib" "$here/bin/dpdk-testpmd"'
fi
# DPDK takes a driver by file name only from folders that nobody else may write to, and by soname from anywhere.
# Lines, not blocks, of output: whoever reads it through a pipe waits for them.
cat >"$dest/testpmd.new" <<W
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec stdbuf -oL $start ${drivers[*]/#/-d } "\$@"
W
chmod +x "$dest/testpmd.new"
"$dest/testpmd.new" --help >version.log 2>&1 || { cat version.log >&2; fail "the unpacked testpmd does not start"; }
mv "$dest/testpmd.new" "$dest/testpmd"
