//! Names the shared library, so that programs find it by its interface's version.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmemif.so.4");
}
