#!/usr/bin/env bash
# Tests peers that take huge pages away. Reserves huge pages for that, as the kernel's pool is empty on most machines, and
# restores the size of the pool afterwards. Needs root.
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
