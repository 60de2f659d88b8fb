#!/usr/bin/env bash
# The Debian package of the tool, made as memif-cli/README.md says, installed in a bare Debian: the tool runs there, and its manual
# pages and completions are where they belong.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --locked --release -p memif-cli
rm -rf "$target/memif-files"
mkdir -p "$target/memif-files"
"$target/release/memif" man "$target/memif-files/man"
for shell in bash zsh fish; do "$target/release/memif" completions "$shell" >"$target/memif-files/memif.$shell"; done
cargo deb -p memif-cli --no-build --fast --quiet >/dev/null
bash ci/bare-root.sh --scratch bash -ec "
    dpkg --install '$target'/debian/memif_*.deb >/dev/null
    memif --seconds 1 --json | tail -n 1 | grep '\"final\":true' >/dev/null
    dpkg --listfiles memif | grep -E '/man1/memif-gen.1(.gz)?$' >/dev/null
    ls /usr/share/bash-completion/completions/memif /usr/share/zsh/vendor-completions/_memif /usr/share/fish/vendor_completions.d/memif.fish
"
