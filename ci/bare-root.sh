#!/usr/bin/env bash
# Runs a command in a bare Debian: a root folder with Debian's minimal system, a C compiler as linker, the Rust toolchain and
# this repository, and nothing else.
#     ci/bare-root.sh COMMAND...             what it changes outside of the repository stays
#     ci/bare-root.sh --scratch COMMAND...   in a copy that is deleted afterwards, as it installs something
# Builds the root in target/bare-root when it is not there. Where that cannot be done (no root, no debootstrap, no mirror), it
# says that this is NOT checked; the command runs here, or with --scratch not at all.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
bare=${CARGO_TARGET_DIR:-$repository/target}/bare-root
rustup=${RUSTUP_HOME:-$HOME/.rustup} cargo=${CARGO_HOME:-$HOME/.cargo}
scratch=
if [[ $1 == --scratch ]]; then
    scratch=yes
    shift
fi

# not_checked REASON COMMAND...
not_checked() {
    echo "bare root: NOT checked, as $1: ${*:2}"
    [[ -z $scratch ]] || exit 0
    exec "${@:2}"
}
((EUID == 0)) || not_checked "it takes root" "$@"
if [[ ! -e $bare/complete ]]; then
    command -v debootstrap >/dev/null || not_checked "debootstrap is not installed" "$@"
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    rm -rf "$bare"
    mkdir -p "$bare"
    # what a user is told to have: a linker and the C library's headers
    debootstrap --variant=minbase --include=gcc,libc6-dev "$suite" "$bare" >"$bare.log" 2>&1 ||
        not_checked "debootstrap failed, see $bare.log" "$@"
    touch "$bare/complete"
fi
for tool in python3 pkg-config g++ git curl; do
    [[ ! -e $bare/usr/bin/$tool ]] || { echo "bare root: it has $tool" >&2; exit 1; }
done
if [[ -n $scratch ]]; then
    scratch=$(mktemp -d)
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    cp -a "$bare/." "$scratch/"
    bare=$scratch
fi

# the certificates that a download takes are not in there: crates come from here
cargo fetch --locked --quiet

# mounts of our own, which end with us
# shellcheck disable=SC2016 # for the shell in there
unshare --mount --propagation private bash -c '
    set -euo pipefail
    bare=$1 path=$2
    shift 2
    while [[ $1 != -- ]]; do
        mkdir -p "$bare$1"
        mount --rbind "$1" "$bare$1"
        shift
    done
    shift
    exec chroot "$bare" /usr/bin/env CARGO_NET_OFFLINE=true PATH="$path:/usr/sbin:/usr/bin:/sbin:/bin" \
        bash -c "cd \"\$0\" && exec \"\$@\"" "$PWD" "$@"
' bare "$bare" "$cargo/bin" /proc /sys /dev "$rustup" "$cargo" "$repository" -- "$@"
