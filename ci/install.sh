#!/usr/bin/env bash
# Installs what .ci/run needs beside Rust: Debian packages, a nightly toolchain and cargo's tools, of the versions in
# ci/versions.sh. What is there already stays as it is. Needs root where a package is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
source ci/versions.sh

# package:command that it is needed for, empty for none
needed=(
    gcc:gcc g++:g++ libc6-dev: pkg-config:pkg-config binutils:objdump # C programs, and what is said about libraries
    python3:python3 diffutils:diff                                    # scripts of ci/
    shellcheck:shellcheck valgrind:valgrind
    util-linux:setpriv mount:mount                                    # users and namespaces
    iproute2:ip iputils-ping:ping tcpdump:tcpdump                     # ci/cookbook.sh
    debootstrap:debootstrap                                           # ci/bare-root.sh
)
missing=()
for entry in "${needed[@]}"; do
    package=${entry%%:*} command=${entry#*:}
    if [[ -n $command ]]; then
        command -v "$command" >/dev/null || missing+=("$package")
    else
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    fi
done
if ((${#missing[@]} > 0)); then
    echo "install: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

toolchain=$(nightly)
rustup run "$toolchain" cargo --version >/dev/null 2>&1 || rustup toolchain install "$toolchain" --profile minimal

# tool NAME VERSION [OPTION...]: of cargo; not optimised, as they run for seconds
installed=$(cargo install --list)
tool() {
    local name=$1 version=$2
    shift 2
    grep -qxF "$name v$version:" <<<"$installed" || cargo install --quiet --locked --debug "$name@$version" "$@"
}
tool cargo-fuzz "$cargo_fuzz"
tool cargo-deb "$cargo_deb"
tool cargo-deny "$cargo_deny" --no-default-features
bash ci/cargo-c.sh
