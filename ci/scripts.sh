#!/usr/bin/env bash
# The shell scripts, checked by shellcheck: among other things for checks that cannot fail, as `! command` under errexit, or a
# command whose status is that of the one around it.
set -euo pipefail
cd "$(dirname "$0")/.."
found=$(find . -name '*.sh' -not -path '*/target/*' | sort)
mapfile -t scripts <<<"$found"
shellcheck --external-sources --enable=check-set-e-suppressed,check-extra-masked-returns .ci/run "${scripts[@]}"
echo "scripts: $((${#scripts[@]} + 1)), nothing found"
