#!/bin/bash
# Unpacks DPDK's testpmd and its memif driver from Debian's packages into a folder, without installing anything:
# installing package dpdk would bring udev and RDMA with it.
#   fetch-dpdk.sh DEST     leaves DEST/testpmd, a wrapper to run; does nothing when that is there and starts
set -euo pipefail

fail() { echo "fetch-dpdk: $*" >&2; exit 1; }

[[ $# -eq 1 ]] || fail "usage: fetch-dpdk.sh DEST"
mkdir -p "$1" || fail "cannot make folder $1"
dest=$(cd "$1" && pwd)
if [[ -x $dest/testpmd ]] && "$dest/testpmd" --help >/dev/null 2>&1; then exit 0; fi
for tool in apt-get dpkg-deb ldd stdbuf; do
    command -v "$tool" >/dev/null || fail "needs $tool: run this on Debian 12, or unpack a testpmd into $dest yourself"
done

# testpmd, the two drivers that are loaded by name, and whatever testpmd is linked with
drivers=(librte_mempool_ring.so.23 librte_net_memif.so.23)
packages=(dpdk-dev librte-net-memif23 librte-mempool-ring23
    librte-eal23 librte-ethdev23 librte-kvargs23 librte-telemetry23 librte-net23 librte-mbuf23 librte-mempool23
    librte-ring23 librte-meter23 librte-cmdline23 librte-cryptodev23 librte-crypto-scheduler23 librte-rcu23
    librte-reorder23 librte-bitratestats23 librte-metrics23 librte-bpf23 librte-gro23 librte-gso23 librte-hash23
    librte-latencystats23 librte-pdump23 librte-pcapng23 librte-security23 librte-sched23 librte-ip-frag23
    librte-eventdev23 librte-timer23 librte-pci23 librte-bus-vdev23 librte-bus-pci23 librte-bus-auxiliary23
    librte-bus-dpaa23 librte-common-dpaax23 librte-mempool-dpaa23 librte-net-dpaa23 librte-net-bnxt23
    librte-net-bond23 librte-net-i40e23 librte-net-ixgbe23 librte-net-ice23 librte-common-iavf23
    librte-net-mlx5-23 librte-common-mlx5-23
    libibverbs1 ibverbs-providers libnl-3-200 libnl-route-3-200 libpcap0.8 libdbus-1-3 libjansson4 libfdt1 libelf1
    libbsd0 libmd0 libnuma1)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# only root may renew the system's lists; they may be recent enough
[[ $EUID -ne 0 ]] || apt-get update >apt.log 2>&1 || cat apt.log >&2
apt-get -o APT::Sandbox::User=root download "${packages[@]}" >apt.log 2>&1 || {
    cat apt.log >&2
    fail "apt-get download failed: the packages are those of Debian 12 on x86-64; run 'apt-get update' as root first"
}
for deb in *.deb; do dpkg-deb -x "$deb" unpacked || fail "cannot unpack $deb"; done

libraries=unpacked/usr/lib/x86_64-linux-gnu
program=unpacked/usr/bin/dpdk-testpmd
[[ -x $program ]] || fail "package dpdk-dev holds no dpdk-testpmd"
missing=$(LD_LIBRARY_PATH=$libraries:unpacked/lib/x86_64-linux-gnu ldd "$program" | grep 'not found' || true)
[[ -z $missing ]] || fail "libraries are missing, add their packages to this script: $missing"
for driver in "${drivers[@]}"; do
    [[ -e $libraries/$driver ]] || fail "no driver $driver among the packages"
done

rm -rf "$dest/bin" "$dest/lib" "$dest/testpmd"
mkdir -p "$dest/bin" "$dest/lib"
# the whole folder: some of its libraries are links to drivers in a folder below
cp -a "$libraries"/. "$dest/lib/"
[[ ! -d unpacked/lib/x86_64-linux-gnu ]] || cp -a unpacked/lib/x86_64-linux-gnu/. "$dest/lib/"
cp "$program" "$dest/bin/"
# DPDK takes a driver by file name only from folders that nobody else may write to, and by soname from anywhere.
# Lines, not blocks, of output: whoever reads it through a pipe waits for them.
cat >"$dest/testpmd.new" <<W
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
export LD_LIBRARY_PATH="\$here/lib"
exec stdbuf -oL "\$here/bin/dpdk-testpmd" ${drivers[*]/#/-d } "\$@"
W
chmod +x "$dest/testpmd.new"
"$dest/testpmd.new" --help >version.log 2>&1 || { cat version.log >&2; fail "the unpacked testpmd does not start"; }
mv "$dest/testpmd.new" "$dest/testpmd"
