//! What keeps the sources from being read.

use std::path::PathBuf;

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot list {}: {source}", path.display())]
    List { path: PathBuf, source: walkdir::Error },
    #[error("{}:{}: cannot be parsed as Rust: {source}", path.display(), source.span().start().line)]
    Parse { path: PathBuf, source: syn::Error },
    #[error("{}: cannot be split into Rust tokens: {source}", path.display())]
    Tokens { path: PathBuf, source: proc_macro2::LexError },
    #[error("{}: cannot be parsed as TOML: {source}", path.display())]
    Toml { path: PathBuf, source: toml_edit::TomlError },
    #[error("{}: module `{name}` has no file; looked at {}", path.display(), looked_at.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" and "))]
    NoFile { path: PathBuf, name: String, looked_at: Vec<PathBuf> },
    #[error("{} has neither src/lib.rs nor src/main.rs", path.display())]
    NoRoot { path: PathBuf },
}

/// Reads a file as text.
pub(crate) fn read(path: &std::path::Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}
