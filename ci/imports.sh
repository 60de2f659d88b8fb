#!/usr/bin/env bash
# Fails when files of one crate import each other, in a circle of any length, and prints each circle as a chain of files:
#     ci/imports.sh [FOLDER...]        of the crates; by default those below
# ci/source-check/src/imports.rs says what an import is.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -gt 0 ]] || set -- memif-ring memif-os memif-pmd memif-capi memif-observe memif-cli benches
cargo run --locked --quiet -p source-check -- imports "$@"
