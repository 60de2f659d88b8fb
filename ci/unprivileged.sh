#!/usr/bin/env bash
# The tests need no rights: runs the built test programs again as `nobody`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
    echo "already without rights: the test step was this one"
    exit 0
fi
list=$(cargo test --profile release-test --workspace --all-targets --no-run --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message.get("profile", {}).get("test"):
        print(message["manifest_path"].rsplit("/", 1)[0], message["executable"])')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# a copy, as the checkout may lie where nobody may not look
while read -r _ program; do cp "$program" "$scratch/"; done <<<"$list"
cp "${CARGO_TARGET_DIR:-target}"/release-test/{memif,memif-bench} "$scratch/"
chmod -R a+rX "$scratch"
mkdir -m 1777 "$scratch/tmp"
while read -r _ program; do
    name=$(basename "$program")
    setpriv --reuid=nobody --regid=nogroup --clear-groups env -i PATH="$PATH" TMPDIR="$scratch/tmp" HOME=/nonexistent \
        CARGO_BIN_EXE_memif="$scratch/memif" CARGO_BIN_EXE_memif-bench="$scratch/memif-bench" \
        "$scratch/$name" --quiet
done <<<"$list"
