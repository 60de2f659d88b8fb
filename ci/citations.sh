#!/usr/bin/env bash
# Every section of docs/protocol.md that the sources cite must exist: "docs/protocol.md, section 2.4".
set -euo pipefail
cd "$(dirname "$0")/.."
sections=$(sed -nE 's/^##+ ([0-9]+(\.[0-9]+)?)\.? .*/\1/p' docs/protocol.md)
files=$(grep -rlE --include='*.rs' --include='*.[ch]' --include='*.md' --exclude-dir=target 'protocol' .)
# comments may break a citation over two lines
cited=$(xargs -d '\n' cat <<<"$files" | sed -E 's|^ *(//[/!]?\|\*)? *||' | tr '\n' ' ' |
    grep -oiE 'protocol(\.md)?,? section [0-9]+(\.[0-9]+)?' | sort | uniq -c)
wrong=0
while read -r count name word number; do
    if [[ "$name $word" != "protocol.md, section" ]]; then
        echo "citations: \"$name $word $number\": write \"docs/protocol.md, section $number\"" >&2
        wrong=1
    elif ! grep -qxF "$number" <<<"$sections"; then
        echo "citations: docs/protocol.md has no section $number, cited $count times" >&2
        wrong=1
    fi
done <<<"$cited"
[[ $wrong -eq 0 ]]
count=$(wc -l <<<"$cited")
echo "citations: $count sections of docs/protocol.md, all there"
