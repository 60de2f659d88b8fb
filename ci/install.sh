#!/usr/bin/env bash
# Installs what .ci/run needs beside Rust: Debian packages, a nightly toolchain and cargo-fuzz. What is there already stays as it
# is. Needs root where a package is missing.
set -euo pipefail

# package:command that it is needed for, empty for none
needed=(
    gcc:gcc g++:g++ libc6-dev: pkg-config:pkg-config binutils:objdump # C programs, and what is said about libraries
    python3:python3 diffutils:diff                                    # scripts of ci/
    shellcheck:shellcheck valgrind:valgrind
    util-linux:setpriv mount:mount                                    # users and namespaces
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

# sanitizers and fuzzing
cargo +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
