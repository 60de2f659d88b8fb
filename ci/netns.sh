#!/usr/bin/env bash
# Sockets in other network namespaces. Needs root, to make and enter them; fails without.
set -euo pipefail
cd "$(dirname "$0")/.."
MEMIF_NETNS=1 bash ci/program.sh netns
