//! The checks themselves, on small crates in temporary folders.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{circles, imports, lints, unsafe_code};

fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// The circles as lists of file names below `src`.
fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let root = tree(files);
    let graph = imports::Graph::of_crate(root.path()).unwrap();
    let name =
        |file: usize| graph.files[file].strip_prefix(root.path().join("src")).unwrap().display().to_string();
    circles::shortest(&graph).iter().map(|circle| circle.iter().map(|&file| name(file)).collect()).collect()
}

const NONE: [&[&str]; 0] = [];

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("src/b.rs", "pub struct B; fn f() { crate::a::A::new() }"),
    ]);
    assert_eq!(circles, [["a.rs", "b.rs"]]);
}

#[test]
fn a_crate_without_a_library_is_read_from_its_program() {
    let a = ("src/a.rs", "use crate::b::B; pub struct A(B);");
    let b = ("src/b.rs", "use crate::a::A; pub struct B(A);");
    assert_eq!(found(&[("src/main.rs", "mod a; mod b;"), a, b]), [["a.rs", "b.rs"]]);
    // a program beside a library uses it like any other crate
    assert_eq!(found(&[("src/lib.rs", "mod a;"), ("src/main.rs", "mod a; mod b;"), a, b]), NONE);
    let neither = imports::Graph::of_crate(tree(&[a, b]).path()).unwrap_err().to_string();
    assert!(neither.ends_with("has neither src/lib.rs nor src/main.rs"), "{neither}");
}

#[test]
fn one_direction_is_no_circle() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        ("src/b.rs", "pub struct B;"),
    ]);
    assert_eq!(circles, NONE);
}

#[test]
fn a_circle_of_three_is_found_through_groups_renames_and_globs() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b; mod c;"),
        ("src/a.rs", "use super::{c::{self as sea}, b::{B as Bee}}; pub struct A(Bee);"),
        ("src/b.rs", "use super::c::*; pub struct B(C);"),
        ("src/c.rs", "pub struct C; pub fn c() { let _: Option<crate::a::A> = None; }"),
    ]);
    assert_eq!(circles, [["a.rs", "b.rs", "c.rs"]]);
}

#[test]
fn names_passed_on_by_a_parent_count_for_the_file_that_defines_them() {
    // a takes B from the parent, which only passes it on: the parent may use a without a circle
    let root = "mod a; mod b; pub(crate) use b::B; pub fn run() { a::go() }";
    let a = ("src/a.rs", "use super::B; pub fn go() { let _ = B; }");
    assert_eq!(found(&[("src/lib.rs", root), a, ("src/b.rs", "pub struct B;")]), NONE);
    let back = ("src/b.rs", "pub struct B; fn f() { super::a::go() }");
    assert_eq!(found(&[("src/lib.rs", root), a, back]), [["a.rs", "b.rs"]]);
}

#[test]
fn a_parent_that_uses_its_child_and_is_used_by_it_is_a_circle() {
    let child = ("src/room/child.rs", "use super::Parent; pub struct Child(Parent);");
    let circles = found(&[
        ("src/lib.rs", "mod room;"),
        ("src/room/mod.rs", "mod child; use child::Child; pub struct Parent; fn f(_: Child) {}"),
        child,
    ]);
    assert_eq!(circles, [["room/mod.rs", "room/child.rs"]]);
    let passes_on = "mod child; pub use child::Child; pub struct Parent;";
    assert_eq!(found(&[("src/lib.rs", "mod room;"), ("src/room/mod.rs", passes_on), child]), NONE);
    let uses_what_it_passes_on = "mod child; pub use child::Child; pub struct Parent; fn f(_: Child) {}";
    let circles = found(&[("src/lib.rs", "mod room;"), ("src/room/mod.rs", uses_what_it_passes_on), child]);
    assert_eq!(circles, [["room/mod.rs", "room/child.rs"]]);
}

#[test]
fn paths_in_macros_and_exported_macros_count() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "#[macro_export] macro_rules! made { () => { $crate::b::B } } pub const A: u8 = 0;"),
        ("src/b.rs", "pub struct B; fn f() { println!(\"{}\", [crate::a::A][0]) }"),
    ]);
    assert_eq!(circles, [["a.rs", "b.rs"]]);
    let circles = found(&[
        ("src/lib.rs", "#[macro_use] mod a; mod b;"),
        ("src/a.rs", "macro_rules! made { () => { $crate::b::B } }"),
        ("src/b.rs", "pub struct B; fn f() { made!(); }"),
    ]);
    assert_eq!(circles, [["a.rs", "b.rs"]]);
}

#[test]
fn what_is_compiled_for_tests_alone_is_left_out() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b; #[cfg(all(test, loom))] mod missing;"),
        ("src/a.rs", "use crate::b::B; pub struct A(B);"),
        (
            "src/b.rs",
            "#[cfg(test)] use crate::a::A; pub struct B; impl B { #[cfg(test)] fn f(_: crate::a::A) {} }
             #[cfg(test)] mod tests { use crate::a::A; #[test] fn t() { super::super::a::f() } }",
        ),
    ]);
    assert_eq!(circles, NONE);
}

#[test]
fn inline_modules_belong_to_their_file_and_may_have_files_of_their_own() {
    let circles = found(&[
        ("src/lib.rs", "mod a; #[path = \"other/place.rs\"] mod b;"),
        ("src/a.rs", "pub mod inner { pub mod deep; pub struct A; }"),
        ("src/a/inner/deep.rs", "pub type D = super::super::super::b::B;"),
        ("src/other/place.rs", "pub struct B; use crate::a::inner::{A, deep}; fn f(_: A, _: deep::D) {}"),
    ]);
    assert_eq!(circles, [["a/inner/deep.rs", "other/place.rs"]]);
}

#[test]
fn other_crates_fields_and_local_names_are_no_imports() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b; pub use b::run;"),
        ("src/a.rs", "use std::fmt; pub struct A; fn f(b: A) { assert!(b.run == ::b::run(0)); }"),
        ("src/b.rs", "use super::a::A; pub fn run(_: A) {}"),
    ]);
    assert_eq!(circles, NONE);
}

#[test]
fn imports_that_lead_in_a_circle_of_names_come_to_an_end() {
    let circles = found(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "pub use super::b::*; pub use super::b::Lost;"),
        ("src/b.rs", "pub use super::a::*; pub use super::a::Lost; fn f(_: Lost, _: Other) {}"),
    ]);
    assert_eq!(circles, NONE);
}

#[test]
fn a_chain_says_which_line_uses_what() {
    let root = tree(&[
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "\n\nuse crate::b::B; pub struct A; pub fn f() {}"),
        ("src/b.rs", "pub struct B;\npub use crate::a::A as B2;\nfn f() { crate::a::f() }"),
    ]);
    let graph = imports::Graph::of_crate(root.path()).unwrap();
    let chain = graph.chain(&circles::shortest(&graph)[0]);
    let at = |file: &str| root.path().join("src").join(file).display().to_string();
    let (a, b) = (at("a.rs"), at("b.rs"));
    assert_eq!(
        chain,
        format!("{a}:3 uses crate::b::B, which is in\n{b}:2 uses crate::a::A, which is in\n{a}")
    );
}

#[test]
fn a_crate_without_a_file_for_a_module_is_an_error() {
    let root = tree(&[("src/lib.rs", "mod gone;")]);
    let error = imports::Graph::of_crate(root.path()).unwrap_err().to_string();
    assert!(error.contains("module `gone` has no file"), "{error}");
}

const DENIES: &str = "[workspace.lints.rust]\nunsafe_code = \"deny\"\n";
const INHERITS: &str = "[package]\nname = \"x\"\n[lints]\nworkspace = true\n";

fn complaints(list: &[&str], files: &[(&str, &str)]) -> Vec<String> {
    let root = tree(files);
    unsafe_code::complaints(root.path(), &BTreeSet::from_iter(list.iter().copied())).unwrap()
}

#[test]
fn unsafe_code_outside_of_the_list_is_found_in_every_form() {
    for code in [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "pub unsafe extern \"C\" fn f() {}",
        "unsafe impl Send for X {}",
        "unsafe trait T {}",
        "unsafe extern \"C\" { fn f(); }",
        "#[unsafe(no_mangle)] pub extern \"C\" fn f() {}",
        "macro_rules! m { () => { unsafe { f() } } }",
    ] {
        assert_eq!(
            complaints(&[], &[("a/src/x.rs", code)]),
            ["a/src/x.rs: has unsafe code and is not listed"],
            "{code}"
        );
        assert_eq!(complaints(&["a/src/x.rs"], &[("a/src/x.rs", code)]), [""; 0], "{code}");
    }
}

#[test]
fn comments_strings_and_function_types_are_no_unsafe_code() {
    let code = "/// unsafe { }\n// #![allow(unsafe_code)]\nconst S: &str = \"unsafe { }\"; /* unsafe { } */
        type F = unsafe extern \"C\" fn(u8); type G = unsafe fn();";
    assert_eq!(complaints(&[], &[("a/src/x.rs", code), ("target/y.rs", "unsafe fn f() {}")]), [""; 0]);
}

#[test]
fn permits_outside_of_the_list_are_found_in_every_form() {
    for code in [
        "#![allow(unsafe_code)]",
        "#[expect(unsafe_code)] mod x {}",
        "#![allow(dead_code, unsafe_code, reason = \"x\")]",
        "#![cfg_attr(loom, allow(missing_docs, unsafe_code))]",
        "#[warn(unsafe_code)] fn f() {}",
    ] {
        assert_eq!(
            complaints(&[], &[("x.rs", code)]),
            ["x.rs: permits unsafe code and is not listed"],
            "{code}"
        );
        assert_eq!(
            complaints(&["x.rs"], &[("x.rs", code)]),
            ["x.rs: permits unsafe code and has none"],
            "{code}"
        );
    }
    assert_eq!(complaints(&[], &[("x.rs", "#![deny(unsafe_code)] #![allow(dead_code)]")]), [""; 0]);
}

#[test]
fn stale_entries_are_found() {
    assert_eq!(complaints(&["x.rs"], &[("x.rs", "fn f() {}")]), ["x.rs: is listed and has no unsafe code"]);
    assert_eq!(complaints(&["y.rs"], &[("x.rs", "fn f() {}")]), ["y.rs: is listed and does not exist"]);
}

fn lint_complaints(files: &[(&str, &str)]) -> Vec<String> {
    lints::complaints(tree(files).path()).unwrap()
}

#[test]
fn a_crate_that_lets_unsafe_code_pass_is_found() {
    assert_eq!(lint_complaints(&[("Cargo.toml", DENIES), ("a/Cargo.toml", INHERITS)]), [""; 0]);
    let own = "[package]\nname = \"x\"\n[lints.rust]\nunsafe_code = { level = \"forbid\", priority = 1 }\n";
    assert_eq!(lint_complaints(&[("Cargo.toml", ""), ("a/Cargo.toml", own)]), [""; 0]);

    let neither = "neither `lints.workspace = true` nor `lints.rust.unsafe_code = \"deny\"`";
    let without = "[package]\nname = \"x\"\n";
    let complaint = format!("a/Cargo.toml: {neither}");
    assert_eq!(lint_complaints(&[("Cargo.toml", DENIES), ("a/Cargo.toml", without)]), [complaint.as_str()]);
    let warns = "[package]\nname = \"x\"\n[lints.rust]\nunsafe_code = \"warn\"\n";
    assert_eq!(lint_complaints(&[("Cargo.toml", DENIES), ("a/Cargo.toml", warns)]), [complaint]);

    let complaint = "a/Cargo.toml: inherits lints, but the workspace does not deny unsafe_code";
    assert_eq!(lint_complaints(&[("Cargo.toml", "[workspace]\n"), ("a/Cargo.toml", INHERITS)]), [complaint]);
    let allows = "[workspace.lints.rust]\nunsafe_code = \"allow\"\n";
    assert_eq!(lint_complaints(&[("Cargo.toml", allows), ("a/Cargo.toml", INHERITS)]), [complaint]);
}

#[test]
fn the_folder_of_the_root_may_be_hidden_or_called_target() {
    let root = tree(&[("target/x.rs", "unsafe fn f() {}")]);
    let list = BTreeSet::new();
    assert_eq!(unsafe_code::complaints(&root.path().join("target"), &list).unwrap().len(), 1);
    assert_eq!(unsafe_code::complaints(Path::new(root.path()), &list).unwrap().len(), 0);
}
