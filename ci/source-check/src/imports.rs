//! Which file of a crate uses which other one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::modules::{Crate, Mention, ModuleId};
use crate::resolve::{Resolver, Target};

/// The files of a crate, and for each the files that it uses with one place that does so.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) uses: Vec<BTreeMap<usize, Use>>,
}

/// One place where a file uses another one.
#[derive(Debug)]
pub(crate) struct Use {
    line: usize,
    path: String,
}

impl Graph {
    /// Reads a crate. A file uses another one when its code mentions, under whatever path, something that the other one
    /// defines. Declaring a child (`mod x;`) is no use, and neither is passing a child's names on (`pub use x::Y;`), nor
    /// naming a module on the way to something else.
    pub(crate) fn of_crate(dir: &Path) -> Result<Self, Error> {
        let of = Crate::read(dir)?;
        let mut resolver = Resolver::new(&of);
        let mut uses: Vec<BTreeMap<usize, Use>> = of.files.iter().map(|_| BTreeMap::new()).collect();
        for (id, module) in of.modules.iter().enumerate() {
            for reference in &module.references {
                for target in resolver.resolve(id, &reference.segments) {
                    let to = match (target, reference.mention) {
                        (Target::Item(to), Mention::ReExport) if is_below(&of, to, id) => continue,
                        (Target::Item(to), _) | (Target::Module(to), Mention::Glob) => of.modules[to].file,
                        (Target::Module(_), _) => continue,
                    };
                    if to != module.file {
                        let found = Use { line: reference.line, path: reference.segments.join("::") };
                        uses[module.file].entry(to).or_insert(found);
                    }
                }
            }
        }
        Ok(Self { files: of.files, uses })
    }

    /// How many pairs of files there are of which one uses the other.
    pub(crate) fn edges(&self) -> usize {
        self.uses.iter().map(BTreeMap::len).sum()
    }

    /// A circle as text, one file a line, the first one at both ends.
    pub(crate) fn chain(&self, circle: &[usize]) -> String {
        let mut text = String::new();
        for (file, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
            let Use { line, path } = &self.uses[*file][next];
            let _ = writeln!(text, "{}:{line} uses {path}, which is in", self.files[*file].display());
        }
        text + &self.files[circle[0]].display().to_string()
    }
}

fn is_below(of: &Crate, mut module: ModuleId, above: ModuleId) -> bool {
    while let Some(parent) = of.modules[module].parent {
        if parent == above {
            return true;
        }
        module = parent;
    }
    false
}
