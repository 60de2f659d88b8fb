#!/usr/bin/env bash
# `unsafe` lives in a handful of files, each with its reason. A new one must be added here on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."
allowed='
benches/src/floor.rs
memif-capi/src/callback.rs
memif-capi/src/external.rs
memif-capi/src/raw.rs
memif-capi/src/v1/mod.rs
memif-capi/src/v4.rs
memif-os/src/clock.rs
memif-os/src/event.rs
memif-os/src/event/ringer.rs
memif-os/src/guard.rs
memif-os/src/page_pool.rs
memif-os/src/region_file.rs
memif-os/src/seqpacket.rs
memif-pmd/src/link.rs
memif-ring/src/copy/isa.rs
memif-ring/src/copy/mod.rs
memif-ring/src/mock.rs
memif-ring/src/region.rs
memif-ring/src/shm.rs'
dirs='benches/src interop memif-capi/src memif-cli memif-os/src memif-pmd memif-ring/src'
# shellcheck disable=SC2086
found=$(grep -rlE 'allow\(unsafe_code\)' --include='*.rs' $dirs | grep -v /target/ | sort)
extra=$(comm -13 <(printf '%s\n' "$allowed" | sort) <(printf '%s\n' "$found"))
if [ -n "$extra" ]; then
    printf 'unsafe code where none is expected:\n%s\n' "$extra" >&2
    exit 1
fi
printf 'unsafe code in %d files, as expected\n' "$(printf '%s\n' "$found" | wc -l)"
