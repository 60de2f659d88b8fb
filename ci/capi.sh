#!/usr/bin/env bash
# libmemif for C programs: installs it to a temporary folder, and builds and runs the C tests and examples against that,
# also under AddressSanitizer and valgrind, with few descriptors, and with other peers; makes the Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
prefix=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
    rm -rf "$prefix"
}
trap finish EXIT
step() { printf -- '--- %s\n' "$1"; }
fail() {
    echo "capi: $*" >&2
    exit 1
}
# exits_with STATUS COMMAND...: what it says about that is not shown
exits_with() {
    local wanted=$1 status=0
    shift
    "$@" 2>/dev/null || status=$?
    [[ $status -eq $wanted ]] || fail "$* ended with $status, not with $wanted"
}
warnings=(-Wall -Wextra -Werror -pedantic)

step "install"
bash ci/libmemif.sh "$prefix"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$prefix/share/pkgconfig LD_LIBRARY_PATH=$prefix/lib
v4=$(pkg-config --cflags --libs libmemif)
v1=$(pkg-config --cflags --libs libmemif-1.0)

step "symbols: exactly those of the headers"
nm -D --defined-only "$prefix/lib/libmemif.so" | awk '{ print $3 }' | LC_ALL=C sort | diff memif-capi/tests/symbols.txt -
soname=$(objdump -p "$prefix/lib/libmemif.so" | awk '$1 == "SONAME" { print $2 }')
[[ $soname == libmemif.so.4 ]] || fail "the shared library's name is $soname, not libmemif.so.4"

step "Debian packages"
cargo deb -p memif-capi --no-build --fast --quiet >/dev/null
cargo deb -p memif-capi --no-build --fast --quiet --variant dev >/dev/null
# a program in two lines, as memif-capi/README.md has them
bash ci/bare-root.sh --scratch bash -ec "
    apt-get update -qq && apt-get install -y -qq --no-install-recommends pkg-config >/dev/null
    apt-get install -y -qq --no-install-recommends '$target'/debian/libmemif{4,-dev}_*.deb >/dev/null
    cc memif-capi/examples/loopback.c \$(pkg-config --cflags --libs libmemif) -o /tmp/loopback
    ldd /tmp/loopback | grep -E 'libmemif.so.4 => .*/lib/libmemif.so.4'
    status=0; /tmp/loopback -x 2>/dev/null || status=\$?; [[ \$status -eq 2 ]]
"

step "headers: C11, C++17, layout"
# layout TABLE HEADER INCLUDE
layout() {
    gcc -std=c11 "${warnings[@]}" -I"$3" -DHEADER="<$2>" -DLAYOUT="\"$1\"" memif-capi/tests/layout/layout.c -o "$prefix/layout"
    "$prefix/layout" >"$prefix/layout.txt"
    local facts
    facts=$(wc -l <"$prefix/layout.txt")
    [[ $facts -gt 0 ]] || fail "$1: no facts"
    printf '%s: %s facts\n' "$1" "$facts"
}
# memif.h alone, and in either order with the other one
for include in "$prefix/include" "$prefix/include/libmemif-1.0"; do
    for headers in libmemif.h 'memif.h libmemif.h' 'libmemif.h memif.h memif.h'; do
        [[ $include == */libmemif-1.0 || $headers != 'libmemif.h memif'* ]] || continue
        # shellcheck disable=SC2086 # several words
        printf '#include <%s>\n' $headers >"$prefix/header.c"
        gcc -std=c11 "${warnings[@]}" -I"$include" -fsyntax-only "$prefix/header.c"
        g++ -std=c++17 "${warnings[@]}" -I"$include" -x c++ -fsyntax-only "$prefix/header.c"
    done
    layout memif.def memif.h "$include"
done
layout 4.0.def libmemif.h "$prefix/include"
layout 1.0.def libmemif.h "$prefix/include/libmemif-1.0"

# compile SOURCE OUTPUT [FLAG...]: the name says for which interface
compile() {
    local source=$1 output=$2 flags=$v4
    shift 2
    case $(basename "$source") in v1_*) flags=$v1 ;; esac
    # shellcheck disable=SC2086 # several words
    gcc -std=gnu11 -O2 -g "${warnings[@]}" "$source" $flags -pthread "$@" -o "$output"
}

step "compile"
mkdir "$prefix/tests" "$prefix/asan" "$prefix/bin"
programs='interop icmp_peer bench' # they take arguments, or have another end
for source in memif-capi/tests/c/*.c; do
    name=$(basename "$source" .c)
    compile "$source" "$prefix/tests/$name" &
    compile "$source" "$prefix/asan/$name" -fsanitize=address,undefined -fno-sanitize-recover=undefined
    wait $!
done
for source in memif-capi/examples/*.c; do
    compile "$source" "$prefix/bin/$(basename "$source" .c)"
done
cases=()
for test in "$prefix"/tests/*; do
    name=$(basename "$test")
    [[ " $programs " == *" $name "* ]] || cases+=("$name")
done
[[ ${#cases[@]} -gt 0 ]] || fail "no C tests"

step "one program, linked both ways"
static=$(pkg-config --static --cflags --libs libmemif | sed 's/-lgcc_s//')
# shellcheck disable=SC2086 # several words
gcc memif-capi/examples/loopback.c $v4 -o "$prefix/shared"
# shellcheck disable=SC2086
gcc -static memif-capi/examples/loopback.c $static -o "$prefix/static"
libraries=$(ldd "$prefix/shared")
[[ $libraries == *"$prefix/lib/libmemif.so.4"* ]] || fail "the shared program does not load our library: $libraries"
dynamic=$(readelf --dynamic "$prefix/static")
[[ $dynamic != *NEEDED* ]] || fail "the static program loads libraries: $dynamic"
exits_with 2 "$prefix/shared" -x
exits_with 2 "$prefix/static" -x

step "tests"
for name in "${cases[@]}"; do "$prefix/tests/$name"; done

step "tests with 32 descriptors"
(
    ulimit -n 32
    for name in "${cases[@]}"; do
        # more ends in one process, which take more
        case $name in external | quotas) continue ;; esac
        "$prefix/tests/$name"
    done
)

step "tests under AddressSanitizer"
# At the end of a program that has just started threads, gcc's libasan may wait for the lock of its own allocator for ever, with
# no thread that holds it. A run that does not end is ended and repeated; a program that hangs by itself does so again.
under_asan() {
    local turn status
    for turn in 1 2 3; do
        status=0
        timeout --kill-after=5 240 "$1" || status=$?
        ((status == 124 || status == 137)) || return "$status"
        echo "$1: not ended after 240 s, turn $turn" >&2
    done
    return "$status"
}
for name in "${cases[@]}"; do under_asan "$prefix/asan/$name"; done

step "tests under valgrind"
valgrind=(valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
    --suppressions=memif-capi/tests/valgrind.supp)
for name in "${cases[@]}"; do
    # Too many packets: hours. And forks, processes and v1_traffic fork: a child has none of the parent's background threads,
    # so whatever those were working on at the fork counts as lost in the child.
    case $name in forks | processes | traffic | v1_traffic) continue ;; esac
    options=()
    # they go on after a SIGBUS, for which all registers must be right where it came; that is slow
    case $name in *hostile) options=(--vex-iropt-register-updates=allregs-at-mem-access) ;; esac
    "${valgrind[@]}" "${options[@]}" "$prefix/tests/$name"
done

# background COMMAND...: ended when the script is
background() {
    "$@" &
    children+=($!)
}
# end_last [STATUS]: ends what was started last, which must end well, or with STATUS
end_last() {
    local child=${children[-1]} status=0 other=${1:-0}
    unset 'children[-1]'
    kill -TERM "$child" 2>/dev/null || true
    wait "$child" || status=$?
    [[ $status -eq 0 || $status -eq $other ]] || fail "a peer ended with $status"
}

step "examples"
socket=$prefix/socket
background "$prefix/bin/icmp_responder" -s "$socket" -a 10.0.0.2
"$prefix/tests/icmp_peer" "$socket" 3000
end_last
background "$prefix/bin/loopback" -m -s "$socket"
"$prefix/tests/interop" "$socket" slave 9000 100000
end_last
background "$prefix/bin/v1_echo" -m -s "$socket"
"$prefix/bin/v1_ping" -s "$socket" -n 5000
"$prefix/bin/v1_ping" -s "$socket" -n 1000 -l 9000
"$prefix/tests/interop" "$socket" slave 1500 100000
end_last

step "the memif tool"
# as the tests build it: for that package alone, all that it depends on would be built with other features
cargo test --quiet --profile release-test --workspace --all-targets --no-run
memif=$target/release-test/memif
for len in 64 1514 9000; do
    background "$memif" echo "$socket" --json >"$prefix/echo.json"
    "$prefix/tests/interop" "$socket" master "$len" 200000
    end_last
    background "$memif" echo "$socket,role=master" --json >"$prefix/echo.json"
    "$prefix/tests/interop" "$socket" slave "$len" 200000
    end_last
done
# a generator, our forwarder without a copy, and a sink that checks
background "$prefix/bin/forward" -a "$prefix/left" -b "$prefix/right"
background "$memif" gen "$prefix/left,role=master" --verify --rate 200k --seconds 30 --json >"$prefix/gen.json"
"$memif" sink "$prefix/right,role=master" --verify --count 1M --json --wait 30 | tail -n 1
end_last
end_last

step "DPDK"
dpdk=${MEMIF_DPDK:-$target/dpdk}
[ -x "$dpdk/testpmd" ] || bash interop/fetch-dpdk.sh "$dpdk"
# When its peer leaves, DPDK unmaps the rings under the worker that reads them, which then dies of SIGSEGV now and then. All
# packets have come back by then.
dpdk_fault=139
# testpmd ROLE: sends back what it receives
testpmd() {
    exec "$dpdk/testpmd" --no-huge --no-shconf -m 256 --no-pci --no-telemetry --lcores 0@0,1@0 \
        --vdev "net_memif0,role=$1,id=0,socket=$socket,socket-abstract=no" -- \
        --total-num-mbufs=8192 --disable-link-check --stats-period 1 --forward-mode=io --no-flush-rx \
        </dev/null >"$prefix/testpmd.log" 2>&1
}
for len in 64 1514; do
    rm -f "$socket"
    background testpmd server
    "$prefix/tests/interop" "$socket" slave "$len" 100000
    end_last $dpdk_fault
    # a client tries once, so the master comes first
    rm -f "$socket"
    background "$prefix/tests/interop" "$socket" master "$len" 100000
    for ((tries = 0; tries < 100; tries++)); do
        [ ! -S "$socket" ] || break
        sleep 0.1
    done
    [ -S "$socket" ] || fail "a master did not listen within 10 s"
    background testpmd client
    wait "${children[-2]}"
    end_last $dpdk_fault
    unset 'children[-1]'
done
