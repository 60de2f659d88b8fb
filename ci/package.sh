#!/usr/bin/env bash
# The crates as they are published: each says what crates.io shows of it, each archive holds its licence and its readme, builds
# from what is in it and in the other archives, and its documentation's programs pass. Nothing is uploaded.
set -euo pipefail
cd "$(dirname "$0")/.."
# a folder of its own, in which what an earlier run has unpacked and built is not taken for the crates of today: for cargo one
# version is one content
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/publish
cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    for field in ("description", "license", "repository", "homepage", "documentation", "readme", "keywords", "categories", "rust_version"):
        if package["publish"] is None and not package[field]:
            sys.exit("package: %s has no %s" % (package["name"], field))'
rm -rf "$CARGO_TARGET_DIR/package" "$CARGO_TARGET_DIR"/debug/.fingerprint/memif-* \
    "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/memif-*
# a work tree is being worked on, and shows in the archives what it has not committed
cargo publish --workspace --dry-run --locked --quiet --allow-dirty

# a workspace of what was in the archives, which takes the others from there as well
archives=$(mktemp -d)
trap 'rm -rf "$archives"' EXIT
printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n[patch.crates-io]\n' >"$archives/Cargo.toml"
count=0
for archive in "$CARGO_TARGET_DIR"/package/tmp-crate/*.crate; do
    tar --extract --file "$archive" --directory "$archives"
    folder=$(basename "$archive" .crate)
    # copies, as not every file system and tool keeps links
    cmp LICENSE "$archives/$folder/LICENSE"
    [[ -s $archives/$folder/README.md ]] || { echo "package: $folder has no README.md" >&2; exit 1; }
    printf '%s = { path = "%s" }\n' "${folder%-*}" "$folder" >>"$archives/Cargo.toml"
    rm "$archives/$folder/Cargo.lock"
    count=$((count + 1))
done
cp Cargo.lock "$archives/"
cargo test --quiet --doc --workspace --manifest-path "$archives/Cargo.toml"
echo "package: $count archives"
