#!/usr/bin/env bash
# Runs the tests in release as `nobody`, to show that they need no rights; where this has none, as the user that it is.
set -euo pipefail
cd "$(dirname "$0")/.."
if ((EUID != 0)); then
    exec cargo test --locked --profile release-test --workspace --all-targets
fi
list=$(bash ci/program.sh --list)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# copies, as the checkout may lie where nobody may not look; of the tests one at a time, as all of them fill a small disk
place() { install -m 755 "$1" "$scratch/${2-}"; }
mkdir "$scratch/deps" "$scratch/examples" # as cargo has them: a test looks for the examples from where it is
for example in memif-pmd/examples/*.rs; do
    place "${CARGO_TARGET_DIR:-target}/release-test/examples/$(basename "$example" .rs)" examples
done
place "${CARGO_TARGET_DIR:-target}/release-test/memif"
place "${CARGO_TARGET_DIR:-target}/release-test/memif-bench"
chmod a+rx "$scratch" "$scratch"/{deps,examples}
mkdir -m 1777 "$scratch/tmp"
while read -r program; do
    place "$program" deps/test
    setpriv --reuid=nobody --regid=nogroup --clear-groups env -i PATH="$PATH" TMPDIR="$scratch/tmp" HOME=/nonexistent \
        CARGO_BIN_EXE_memif="$scratch/memif" CARGO_BIN_EXE_memif-bench="$scratch/memif-bench" \
        "$scratch/deps/test" --quiet
done <<<"$list"
