#!/usr/bin/env bash
# Runs the recipes of docs/cookbook.md that are marked "run by CI", as they are written there. Needs root.
#     ci/cookbook.sh [FOLDER]        FOLDER has the tool; by default that of the tests in release
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
tool=$(realpath "${1:-$target/release-test}")
[[ -x $tool/memif ]] || { echo "cookbook: no $tool/memif" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin"
chmod a+rx "$scratch" # recipes have other users
install -m 755 "$tool/memif" "$scratch/bin/memif"

# each block of shell behind a mark goes into a file of its own, below its heading; the name ends with what is needed
awk -v to="$scratch" '
    /^## / { heading = substr($0, 4) }
    /^<!-- run by CI( with [a-z]+)? -->$/ { mark = $(NF - 1) }
    mark && /^```sh$/ { file = sprintf("%s/%02d.%s.sh", to, ++count, mark); print "# " heading > file; mark = ""; next }
    /^```$/ { file = "" }
    file { print > file }
' docs/cookbook.md

# run NAME FILE: in namespaces of its own, which take interfaces and processes with them; so is /run/netns
run() {
    echo "--- ${1#\# }"
    mkdir "$scratch/run"
    ln -s "$PWD/memif-capi" "$scratch/run/memif-capi" # a recipe compiles its examples
    # shellcheck disable=SC2016 # for the shell in there
    timeout 300 unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
        mkdir -p /run/netns && mount -t tmpfs none /run/netns
        cd "$1/run" && PATH=$1/bin:$PATH exec bash -euo pipefail "$2"
    ' recipe "$scratch" "$2" >"$scratch/log" 2>&1 || { cat "$2" "$scratch/log" >&2; exit 1; }
    rm -rf "$scratch/run"
}

for recipe in "$scratch"/*.sh; do
    name=$(head -n 1 "$recipe")
    case $recipe in
        *.dpdk.sh)
            for suite in bookworm trixie sid; do
                dpdk=target/dpdk-$suite # where interop has them
                [[ $suite != bookworm ]] || dpdk=target/dpdk
                bash interop/fetch-dpdk.sh "$dpdk" "$suite"
                ln -sfn "$PWD/$dpdk/testpmd" "$scratch/bin/dpdk-testpmd"
                run "$name, $suite" "$recipe"
            done
            ;;
        *.libmemif.sh)
            mkdir "$scratch/libmemif"
            bash ci/libmemif.sh "$scratch/libmemif"
            PKG_CONFIG_PATH=$scratch/libmemif/lib/pkgconfig:$scratch/libmemif/share/pkgconfig \
                LD_LIBRARY_PATH=$scratch/libmemif/lib run "$name" "$recipe"
            ;;
        *) run "$name" "$recipe" ;;
    esac
done
