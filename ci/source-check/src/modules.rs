//! The modules of a crate: which files it consists of, which names each module has, and which paths its code mentions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use syn::Item;

use crate::error::{Error, read};
use crate::scan::{self, Name};

/// A path as the code has it, `crate`, `super`, `self` included.
pub(crate) type Segments = Vec<String>;

/// Index of a module in [`Crate::modules`].
pub(crate) type ModuleId = usize;

/// What a name of a module stands for.
#[derive(Debug, Clone)]
pub(crate) enum Binding {
    /// A module, in this file or another one.
    Module(ModuleId),
    /// An item that this module defines.
    Item(ModuleId),
    /// What another path stands for.
    Import(Segments),
}

/// How the code mentions a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mention {
    /// In an expression, a type, a pattern or a macro.
    Inline,
    /// In a private `use`.
    Import,
    /// In a `use` that others see, which only passes the name on.
    ReExport,
    /// In a private `use …::*`.
    Glob,
}

/// A mentioned path.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) segments: Segments,
    pub(crate) line: usize,
    pub(crate) mention: Mention,
}

/// One module.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    /// Index in [`Crate::files`].
    pub(crate) file: usize,
    pub(crate) names: HashMap<String, Vec<Binding>>,
    /// Whose names are visible here through `use …::*`.
    pub(crate) globs: Vec<Segments>,
    pub(crate) references: Vec<Reference>,
}

/// A crate's library, or its program where it has no library, without what is compiled for its tests alone.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    pub(crate) modules: Vec<Module>,
    pub(crate) files: Vec<PathBuf>,
    /// Which module defines a `macro_rules!` macro: such a name needs no path.
    pub(crate) macros: HashMap<String, Vec<ModuleId>>,
}

/// Where the files of a module's children are.
#[derive(Debug, Clone)]
struct Folder {
    /// For `mod x;`
    children: PathBuf,
    /// For `#[path = "…"] mod x;`
    paths: PathBuf,
}

impl Crate {
    /// The root module.
    pub(crate) const ROOT: ModuleId = 0;

    /// Reads `src/lib.rs`, or `src/main.rs` where there is no library, and every module below it.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let roots = ["src/lib.rs", "src/main.rs"].map(|root| dir.join(root));
        let Some(root) = roots.into_iter().find(|root| root.is_file()) else {
            return Err(Error::NoRoot { path: dir.into() });
        };
        let mut this = Self::default();
        let folder = dir.join("src");
        this.read_file(root, None, &Folder { children: folder.clone(), paths: folder })?;
        Ok(this)
    }

    fn read_file(
        &mut self,
        path: PathBuf,
        parent: Option<ModuleId>,
        folder: &Folder,
    ) -> Result<ModuleId, Error> {
        let text = read(&path)?;
        let source = syn::parse_file(&text).map_err(|source| Error::Parse { path: path.clone(), source })?;
        self.files.push(path);
        let id = self.add_module(parent, self.files.len() - 1);
        self.read_items(id, &source.items, folder)?;
        Ok(id)
    }

    fn add_module(&mut self, parent: Option<ModuleId>, file: usize) -> ModuleId {
        let (names, globs, references) = Default::default();
        self.modules.push(Module { parent, file, names, globs, references });
        self.modules.len() - 1
    }

    fn read_items(&mut self, id: ModuleId, items: &[Item], folder: &Folder) -> Result<(), Error> {
        for item in items.iter().filter(|item| !scan::only_for_tests(scan::attributes(item))) {
            match item {
                Item::Mod(module) => self.read_module(id, module, folder)?,
                _ => self.read_item(id, item),
            }
        }
        Ok(())
    }

    fn read_module(&mut self, parent: ModuleId, item: &syn::ItemMod, folder: &Folder) -> Result<(), Error> {
        let name = scan::plain(&item.ident);
        let id = if let Some((_, items)) = &item.content {
            let id = self.add_module(Some(parent), self.modules[parent].file);
            let folder = folder.children.join(&name);
            self.read_items(id, items, &Folder { children: folder.clone(), paths: folder })?;
            id
        } else {
            let (path, folder) = self.find_file(parent, &name, scan::path_attribute(&item.attrs), folder)?;
            self.read_file(path, Some(parent), &folder)?
        };
        self.bind(parent, name, Binding::Module(id));
        Ok(())
    }

    /// The file of `mod name;`, and where that module's children are.
    fn find_file(
        &self,
        parent: ModuleId,
        name: &str,
        path: Option<String>,
        folder: &Folder,
    ) -> Result<(PathBuf, Folder), Error> {
        let own = folder.children.join(name);
        let looked_at = match path {
            Some(path) => vec![folder.paths.join(path)],
            None => vec![own.with_extension("rs"), own.join("mod.rs")],
        };
        let Some(found) = looked_at.iter().find(|path| path.is_file()).cloned() else {
            let path = self.files[self.modules[parent].file].clone();
            return Err(Error::NoFile { path, name: name.into(), looked_at });
        };
        let paths = found.parent().map(Path::to_path_buf).unwrap_or_default();
        let children = if found == own.with_extension("rs") { own } else { paths.clone() };
        Ok((found, Folder { children, paths }))
    }

    fn read_item(&mut self, id: ModuleId, item: &Item) {
        let found = scan::scan(item);
        for name in found.names {
            match name {
                Name::Item(name) => self.bind(id, name, Binding::Item(id)),
                Name::Macro { name, exported } => {
                    self.macros.entry(name.clone()).or_default().push(id);
                    self.bind(id, name.clone(), Binding::Item(id));
                    if exported {
                        self.bind(Self::ROOT, name, Binding::Item(id));
                    }
                }
                Name::Import(name, path) => self.bind(id, name, Binding::Import(path)),
                Name::Glob(path) => self.modules[id].globs.push(path),
            }
        }
        self.modules[id].references.extend(found.references);
    }

    fn bind(&mut self, id: ModuleId, name: String, binding: Binding) {
        self.modules[id].names.entry(name).or_default().push(binding);
    }
}
