//! Reads the sources of this repository: circles of imports, and where unsafe code is.
//!
//! ```text
//! source-check imports CRATE_DIR...             fails when files of a crate import each other, in a circle of any length
//! source-check unsafe ROOT < LIST               fails when unsafe code is, or may be, in a file that LIST does not name
//! source-check unsafe-count ROOT [PREFIX...]    prints the unsafe blocks, functions and implementations of each file
//! ```
//!
//! Sources are parsed with `syn`, so comments, strings and formatting make no difference.

mod circles;
mod error;
mod imports;
mod lints;
mod modules;
mod resolve;
mod scan;
#[cfg(test)]
mod tests;
mod unsafe_code;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use error::Error;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let complaints = match words.as_slice() {
        ["imports", crates @ ..] if !crates.is_empty() => imports(crates),
        ["unsafe", root] => unsafe_code(Path::new(root)),
        ["unsafe-count", root, prefixes @ ..] => unsafe_code::print_counts(Path::new(root), prefixes),
        _ => {
            eprintln!(
                "usage: source-check imports CRATE_DIR... | unsafe ROOT <LIST | unsafe-count ROOT [PREFIX...]"
            );
            return ExitCode::from(2);
        }
    };
    match complaints {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("source-check: {error}");
            ExitCode::from(2)
        }
    }
}

/// Prints the circles of each crate. Returns their number.
fn imports(crates: &[&str]) -> Result<usize, Error> {
    let mut found = 0;
    for dir in crates {
        let graph = imports::Graph::of_crate(Path::new(dir))?;
        let circles = circles::shortest(&graph);
        println!("{dir}: {} files, {} imports, {} circles", graph.files.len(), graph.edges(), circles.len());
        for circle in &circles {
            println!("\n{}", graph.chain(circle));
        }
        found += circles.len();
    }
    Ok(found)
}

/// Compares where unsafe code is with the list on standard input. Returns the number of differences.
fn unsafe_code(root: &Path) -> Result<usize, Error> {
    let list = std::io::read_to_string(std::io::stdin())
        .map_err(|source| Error::Read { path: "standard input".into(), source })?;
    let list: BTreeSet<&str> =
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut complaints = lints::complaints(root)?;
    complaints.extend(unsafe_code::complaints(root, &list)?);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() {
        println!("unsafe code in {} files, as listed; every crate denies it elsewhere", list.len());
    }
    Ok(complaints.len())
}
