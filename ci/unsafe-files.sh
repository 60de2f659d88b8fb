#!/usr/bin/env bash
# Unsafe code is in these files alone; a new one must be added here on purpose. Fails when another file has unsafe code or
# permits it, when a file of the list has none, when a crate does not deny `unsafe_code`, and when SECURITY.md does not name
# the same delivered files.
#     ci/unsafe-files.sh                        compares
#     ci/unsafe-files.sh --count [PREFIX...]    prints unsafe blocks, functions and implementations by file
set -euo pipefail
cd "$(dirname "$0")/.."
check() { cargo run --locked --quiet -p source-check -- "$@"; }
if [[ ${1-} == --count ]]; then
    shift
    check unsafe-count . "$@"
    exit
fi
check unsafe . <<'LIST'
# what is delivered
adapters/memif-tokio/src/watched.rs
memif-capi/src/callback.rs
memif-capi/src/calls.rs
memif-capi/src/external.rs
memif-capi/src/memory.rs
memif-capi/src/v1/mod.rs
memif-capi/src/v4/mod.rs
memif-capi/src/v4/placed.rs
memif-os/src/ringer.rs
memif-os/src/guard/handler.rs
memif-os/src/packet_socket.rs
memif-os/src/page_pool.rs
memif-os/src/mapping.rs
memif-os/src/socket/credentials.rs
memif-os/src/thread.rs
memif-os/src/xdp/program.rs
memif-os/src/xdp/socket.rs
memif-pmd/src/link/master.rs
memif-pmd/src/link/slave.rs
memif-pmd/src/queue/lend.rs
memif-pmd/src/queue/raw/place.rs
memif-ring/src/isa.rs
memif-ring/src/copy/mod.rs
memif-ring/src/mock.rs
memif-ring/src/buffers.rs
memif-ring/src/place.rs
memif-ring/src/region.rs
memif-ring/src/shm/prefetch.rs
memif-ring/src/shm/ring.rs
memif-ring/src/shm/ring_memory.rs
memif-ring/src/shm/span.rs
# benches, tests and proofs
benches/src/floor.rs
benches/src/floor_copy.rs
fuzz/fuzz_targets/region_map.rs
fuzz/fuzz_targets/v1_reassembly/main.rs
memif-capi/tests/common/mod.rs
memif-capi/tests/control.rs
memif-capi/tests/data.rs
memif-capi/tests/v1.rs
memif-os/src/event/tests.rs
memif-os/src/guard/tests.rs
memif-os/tests/guard.rs
memif-os/tests/aio_used_up.rs
memif-os/src/region_file/tests.rs
memif-ring/no-std-proof/src/bare.rs
memif-ring/no-std-proof/src/main.rs
memif-ring/src/copy/tests.rs
memif-ring/tests/loom_ring/main.rs
LIST
listed=$(sed -n '/^# what is delivered$/,/^# benches/{/^#/!p}' ci/unsafe-files.sh | sort)
# shellcheck disable=SC2016 # the backticks are Markdown's
named=$(sed -n '/^## Where the unsafe code is/,$p' SECURITY.md | grep -oE '`[a-z/-]+/src/[a-z0-9_/]+\.rs`' | tr -d '`' | sort)
if ! difference=$(diff <(echo "$listed") <(echo "$named")); then
    printf 'the list (<) and the table in SECURITY.md (>) differ:\n%s\n' "$difference" >&2
    exit 1
fi
