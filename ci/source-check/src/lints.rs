//! Whether every crate denies unsafe code.

use std::path::Path;

use toml_edit::{DocumentMut, Item};

use crate::error::{Error, read};
use crate::unsafe_code::walk;

/// One line for each manifest that lets unsafe code pass.
pub(crate) fn complaints(root: &Path) -> Result<Vec<String>, Error> {
    let top = manifest(&root.join("Cargo.toml"))?;
    let workspace_denies = denies(top.get("workspace").and_then(|workspace| workspace.get("lints")));
    let mut found = Vec::new();
    for path in walk(root, |name| name == "Cargo.toml")? {
        let manifest = manifest(&root.join(&path))?;
        if manifest.get("package").is_none() {
            continue;
        }
        let lints = manifest.get("lints");
        let inherits = lints.and_then(|lints| lints.get("workspace")).and_then(Item::as_bool) == Some(true);
        if inherits && !workspace_denies {
            found.push(format!(
                "{}: inherits lints, but the workspace does not deny unsafe_code",
                path.display()
            ));
        } else if !inherits && !denies(lints) {
            found.push(format!(
                "{}: neither `lints.workspace = true` nor `lints.rust.unsafe_code = \"deny\"`",
                path.display()
            ));
        }
    }
    Ok(found)
}

fn manifest(path: &Path) -> Result<DocumentMut, Error> {
    read(path)?.parse().map_err(|source| Error::Toml { path: path.into(), source })
}

/// Whether a table of lints has unsafe_code at deny or forbid.
fn denies(lints: Option<&Item>) -> bool {
    let lint = lints.and_then(|lints| lints.get("rust")).and_then(|rust| rust.get("unsafe_code"));
    let level = lint.and_then(|lint| lint.as_str().or_else(|| lint.get("level").and_then(Item::as_str)));
    matches!(level, Some("deny" | "forbid"))
}
