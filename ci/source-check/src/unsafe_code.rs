//! Where unsafe code is, and where a lint lets it be. Works on tokens, so that the bodies of macros are seen as well.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::error::{Error, read};

/// What a file has of unsafe code.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// `unsafe { … }`
    blocks: usize,
    /// `unsafe fn`, with a body or in a trait; no function types
    functions: usize,
    /// `unsafe impl`, `unsafe trait`, `unsafe extern { … }`
    items: usize,
    /// `#[unsafe(no_mangle)]` and the like
    attributes: usize,
    /// `allow`, `expect` or `warn` of `unsafe_code`
    permits: usize,
}

impl Counts {
    fn any(self) -> bool {
        self.blocks + self.functions + self.items + self.attributes > 0
    }
}

/// The files below a folder that have such a name, relative to it, in order. Leaves out build output and hidden folders.
pub(crate) fn walk(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let visible = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || name == "target")
    };
    for entry in walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(visible) {
        let entry = entry.map_err(|source| Error::List { path: root.into(), source })?;
        if entry.file_type().is_file() && wanted(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            found.push(path.strip_prefix(root).unwrap_or(path).to_path_buf());
        }
    }
    Ok(found)
}

/// One line for each file that has or permits unsafe code and is not listed, and for each entry that is stale.
pub(crate) fn complaints(root: &Path, list: &BTreeSet<&str>) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, counts) in count_all(root)? {
        let path = path.display().to_string();
        match (list.get(path.as_str()), counts.any(), counts.permits > 0) {
            (None, true, _) => found.push(format!("{path}: has unsafe code and is not listed")),
            (None, false, true) => found.push(format!("{path}: permits unsafe code and is not listed")),
            (Some(_), false, true) => found.push(format!("{path}: permits unsafe code and has none")),
            (Some(_), false, false) => found.push(format!("{path}: is listed and has no unsafe code")),
            _ => {}
        }
        seen.insert(path);
    }
    found.extend(
        list.iter()
            .filter(|path| !seen.contains(**path))
            .map(|path| format!("{path}: is listed and does not exist")),
    );
    Ok(found)
}

/// Prints what each file has, for those whose path begins with one of the prefixes, all without any. Returns 0.
pub(crate) fn print_counts(root: &Path, prefixes: &[&str]) -> Result<usize, Error> {
    let mut sum = Counts::default();
    println!("{:>6} {:>9} {:>5}  file", "blocks", "functions", "items");
    for (path, counts) in count_all(root)? {
        let path = path.display().to_string();
        if counts.any() && (prefixes.is_empty() || prefixes.iter().any(|prefix| path.starts_with(prefix))) {
            println!("{:>6} {:>9} {:>5}  {path}", counts.blocks, counts.functions, counts.items);
            sum.blocks += counts.blocks;
            sum.functions += counts.functions;
            sum.items += counts.items;
        }
    }
    println!("{:>6} {:>9} {:>5}  in all", sum.blocks, sum.functions, sum.items);
    Ok(0)
}

fn count_all(root: &Path) -> Result<Vec<(PathBuf, Counts)>, Error> {
    let files = walk(root, |name| name.ends_with(".rs"))?;
    files.into_iter().map(|path| count_file(root, &path).map(|counts| (path, counts))).collect()
}

fn count_file(root: &Path, path: &Path) -> Result<Counts, Error> {
    let text = read(&root.join(path))?;
    let tokens = text.parse().map_err(|source| Error::Tokens { path: path.into(), source })?;
    let mut counts = Counts::default();
    count(tokens, &mut counts);
    Ok(counts)
}

fn count(tokens: TokenStream, counts: &mut Counts) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if word == "unsafe" => count_unsafe(&tokens[at + 1..], counts),
            TokenTree::Ident(word) if word == "allow" || word == "expect" || word == "warn" => {
                counts.permits += usize::from(names_the_lint(tokens.get(at + 1)));
            }
            TokenTree::Group(group) => count(group.stream(), counts),
            _ => {}
        }
    }
}

/// Counts what begins with `unsafe`.
fn count_unsafe(after: &[TokenTree], counts: &mut Counts) {
    let word = |at: usize| match after.get(at) {
        Some(TokenTree::Ident(word)) => word.to_string(),
        _ => String::new(),
    };
    let braces = |at: usize| matches!(after.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace);
    // `extern "C"`: the name of the calling convention may be missing
    let behind_extern = if word(0) == "extern" {
        1 + usize::from(matches!(after.get(1), Some(TokenTree::Literal(_))))
    } else {
        0
    };
    match after.first() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => counts.blocks += 1,
        Some(TokenTree::Group(_)) => counts.attributes += 1,
        _ if word(behind_extern) == "fn" => {
            counts.functions += usize::from(!word(behind_extern + 1).is_empty());
        }
        _ if behind_extern > 0 && braces(behind_extern) => counts.items += 1,
        _ if ["impl", "trait", "auto"].contains(&word(0).as_str()) => counts.items += 1,
        _ => {}
    }
}

/// Whether this is `(…, unsafe_code, …)`.
fn names_the_lint(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    group.stream().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "unsafe_code"))
}
