#!/usr/bin/env bash
# Runs a test program of the release build: ci/program.sh NAME [ARGUMENT...]
#     ci/program.sh --list        prints the paths of all
# It is built when it is not there, with the whole workspace: for one package alone, all that it depends on would be built
# again with other features.
set -euo pipefail
cd "$(dirname "$0")/.."
list() {
    cargo test --locked --profile release-test --workspace --all-targets --no-run --message-format=json 2>/dev/null |
        python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["target"]["name"], message["executable"])'
}
if [[ $1 == --list ]]; then
    programs=$(list)
    cut -d ' ' -f 2- <<<"$programs"
    exit
fi
programs=$(list)
program=$(sed -n "s/^$1 //p" <<<"$programs")
[[ -x $program ]] || { echo "program: no test program is called $1" >&2; exit 1; }
shift
exec "$program" "$@"
