#!/usr/bin/env bash
# Runs the recipes of docs/cookbook.md that are marked "run by CI", as they are written there. Needs root.
#     ci/cookbook.sh [FOLDER]        FOLDER has the tool; by default that of the tests in release
set -euo pipefail
cd "$(dirname "$0")/.."
tool=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release-test}")
[[ -x $tool/memif ]] || { echo "cookbook: no $tool/memif" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# each block of shell behind a mark goes into a file of its own
awk -v to="$scratch" '
    /^<!-- run by CI -->$/ { marked = 1 }
    marked && /^```sh$/ { file = sprintf("%s/%02d.sh", to, ++count); marked = 0; next }
    /^```$/ { file = "" }
    file { print > file }
' docs/cookbook.md
for recipe in "$scratch"/*.sh; do
    mkdir "$scratch/run"
    echo "--- recipe $(basename "$recipe" .sh)"
    # namespaces, interfaces and processes go with it; /run/netns is its own
    # shellcheck disable=SC2016 # for the shell in there
    timeout 300 unshare --net --mount --pid --fork --kill-child --mount-proc bash -c '
        mkdir -p /run/netns && mount -t tmpfs none /run/netns
        cd "$1/run" && PATH=$2:$PATH exec bash -euo pipefail "$3"
    ' recipe "$scratch" "$tool" "$recipe" >"$scratch/log" 2>&1 || { cat "$recipe" "$scratch/log" >&2; exit 1; }
    rm -rf "$scratch/run"
done
