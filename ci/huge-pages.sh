#!/usr/bin/env bash
# Peers that take huge pages away, with huge pages to take. Needs root, as the kernel's pool is empty on most machines;
# leaves it as large as it was.
set -euo pipefail
cd "$(dirname "$0")/.."
pool=/sys/kernel/mm/hugepages/hugepages-2048kB
number() { cat "$pool/$1"; }
wanted=4

before=$(number nr_hugepages)
free=$(($(number free_hugepages) - $(number resv_hugepages)))
if ((free < wanted)); then
    trap 'echo "$before" >"$pool/nr_hugepages"' EXIT
    echo $((before + wanted - free)) >"$pool/nr_hugepages"
fi
MEMIF_HUGE_PAGES=1 bash ci/program.sh hostile_huge_pages
