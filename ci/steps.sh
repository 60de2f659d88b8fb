# shellcheck shell=bash # sourced by .ci/run
# Steps, one after the other or in lanes side by side, and the time that each took.
steps=$(mktemp -d)
touch "$steps/table"
running=() # process groups of lanes

# step NAME COMMAND...: shows what the command printed once it is over, as other lanes print meanwhile
step() {
    local name=$1 start=$SECONDS status=0 output
    shift
    output=$(mktemp -p "$steps")
    printf '=== begun at %4d s: %s\n' "$start" "$name"
    "$@" >"$output" 2>&1 </dev/null || status=$?
    printf '%d %d %d %s\n' "$start" "$((SECONDS - start))" "$status" "$name" >>"$steps/table"
    {
        flock 9
        printf '\n=== %s: status %d after %d s\n' "$name" "$status" "$((SECONDS - start))"
        cat "$output"
    } 9>"$steps/lock"
    rm "$output"
    return "$status"
}

# lanes FUNCTION...: runs all side by side; when one fails, the others are ended with everything that they started
lanes() {
    local lane status=0
    set -m # a process group for each
    for lane in "$@"; do
        (set -e; "$lane") &
        running+=($!)
    done
    set +m
    for lane in "$@"; do
        wait -n || status=$?
        if ((status != 0)); then
            end_lanes
            return "$status"
        fi
    done
    running=()
}

end_lanes() {
    local process
    for process in "${running[@]}"; do kill -TERM -- "-$process" 2>/dev/null || true; done
    wait
    running=()
}

# the last thing that is printed: what failed, or that nothing did
table() {
    local status=$?
    printf '\n%8s %8s  %s\n' 'begun, s' 'took, s' step
    sort -n -o "$steps/table" "$steps/table"
    awk '{ printf "%8d %8d ", $1, $2; for (i = 4; i <= NF; i++) printf " %s", $i
           print ($3 == 0 ? "" : "   FAILED") }' "$steps/table"
    rm -rf "$steps"
    if ((status == 0)); then printf '=== all passed after %d s\n' "$SECONDS"; else printf '=== FAILED\n'; fi
}
trap table EXIT
trap 'end_lanes; exit 1' HUP INT TERM # without exit, the table of a run that was ended says that nothing failed
