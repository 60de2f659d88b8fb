#!/usr/bin/env bash
# Tests sockets and interfaces in other network namespaces. Needs root, to make and enter the namespaces; fails without it.
set -euo pipefail
cd "$(dirname "$0")/.."
export MEMIF_NETNS=1
bash ci/program.sh netns
bash ci/program.sh tool taps
bash ci/program.sh tool interfaces
