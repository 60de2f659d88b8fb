#!/usr/bin/env bash
# Counts the instructions of the hot paths under callgrind and compares them with benches/callgrind.budget:
# ci/callgrind.sh [--record]. More than 3 % above the budget fails; more than 10 % below asks to lower it.
set -euo pipefail
cd "$(dirname "$0")/.."
budget=benches/callgrind.budget

program=$(cargo bench --locked -q -p memif-bench --bench callgrind --no-run --message-format=json |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "callgrind":
        print(message["executable"])')

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The two patterns differ on purpose: of two options for the same pattern valgrind 3.19 keeps one.
# One memcpy on every machine: the C library's choice among its own depends on the processor
if ! GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX_Fast_Unaligned_Load,-AVX512F,-AVX512VL,-ERMS,-FSRM valgrind --tool=callgrind \
    --collect-atstart=no '--toggle-collect=*callgrind*measured*' '--dump-after=callgrind::measured*' \
    --callgrind-out-file="$out/calls" "$program" >"$out/cases" 2>"$out/log"; then
    tail -n 30 "$out/log" "$out/cases" >&2
    exit 1
fi

# each call of `measured` left one dump, in the order of the cases
cases=$(wc -l <"$out/cases")
for ((i = 1; i <= cases; i++)); do
    sed -n 's/^totals: *//p' "$out/calls.$i"
done >"$out/totals"
paste -d ' ' "$out/cases" "$out/totals" | awk '{ printf "%s %.2f\n", $1, $3 / $2 }' >"$out/counts"
counts=$(wc -l <"$out/totals")
if [[ $cases -eq 0 || $counts -ne $cases ]]; then
    echo "callgrind: $cases cases and $counts counts" >&2
    exit 1
fi

if [[ ${1-} == --record ]]; then
    { sed -n '/^#/p' "$budget"; cat "$out/counts"; } >"$out/budget"
    mv "$out/budget" "$budget"
fi
python3 ci/callgrind.py "$budget" "$out/counts"
