# shellcheck shell=bash disable=SC2034 # read by the scripts that source it
# The versions of the tools that the checks use. The version of Rust is `rust-version` of Cargo.toml.
nightly_pinned=nightly-2026-05-20                               # sanitizers and fuzzing
nightly_release='1.97.0-nightly (e50aa6fba 2026-05-19)'         # what that one says of itself
cargo_fuzz=0.13.2
cargo_deny=0.20.2
cargo_deb=3.8.0
cargo_c_suite=trixie                                            # the Debian whose cargo-c is used: 0.10.11

# nightly: the name of the toolchain above. A machine that has the same one under the name `nightly` need not fetch it.
nightly() {
    local there
    there=$(rustup run nightly rustc --version 2>/dev/null) || there=none
    if [[ $there == "rustc $nightly_release" ]]; then
        echo nightly
    else
        echo "$nightly_pinned"
    fi
}
