#!/usr/bin/env bash
# Checks the dependencies: licences, sources and unwanted crates, as deny.toml says, and known vulnerabilities if the database
# of RustSec can be downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fetch --locked --quiet
cargo deny --offline --locked check --hide-inclusion-graph bans licenses sources
if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --locked check --hide-inclusion-graph advisories
else
    echo "deny: advisories NOT checked, as their database cannot be had here"
fi
