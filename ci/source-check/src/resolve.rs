//! From a path to the file that defines what it stands for.

use std::collections::HashSet;

use crate::modules::{Binding, Crate, ModuleId};

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Module(ModuleId),
    /// An item, and the module that defines it.
    Item(ModuleId),
}

/// Looks up paths. Remembers what it is looking up, since imports may lead in a circle.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    of: &'a Crate,
    under_way: HashSet<(ModuleId, Vec<String>)>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(of: &'a Crate) -> Self {
        Self { of, under_way: HashSet::new() }
    }

    /// All that a path in a module may stand for: several things under one name, or under other conditions. Nothing when
    /// it leads to another crate, or is a local variable.
    pub(crate) fn resolve(&mut self, from: ModuleId, path: &[String]) -> Vec<Target> {
        if !self.under_way.insert((from, path.to_vec())) {
            return Vec::new();
        }
        let mut found = self.look_up(from, path);
        found.sort_by_key(|target| match *target {
            Target::Module(id) => (0, id),
            Target::Item(id) => (1, id),
        });
        found.dedup();
        self.under_way.remove(&(from, path.to_vec()));
        found
    }

    fn look_up(&mut self, from: ModuleId, path: &[String]) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else { return vec![Target::Module(from)] };
        match first.as_str() {
            "crate" => self.look_up(Crate::ROOT, rest),
            "self" => self.look_up(from, rest),
            "super" => {
                self.of.modules[from].parent.map_or_else(Vec::new, |parent| self.look_up(parent, rest))
            }
            name => self
                .look_up_name(from, name)
                .into_iter()
                .flat_map(|target| self.go_on(target, rest))
                .collect(),
        }
    }

    fn go_on(&mut self, target: Target, rest: &[String]) -> Vec<Target> {
        match target {
            // what is behind an item is in the same file: a variant, a constant, a method
            Target::Item(_) => vec![target],
            Target::Module(id) => self.look_up(id, rest),
        }
    }

    fn look_up_name(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        let of = self.of;
        let mut found = Vec::new();
        for binding in of.modules[module].names.get(name).into_iter().flatten() {
            match binding {
                Binding::Module(id) => found.push(Target::Module(*id)),
                Binding::Item(id) => found.push(Target::Item(*id)),
                Binding::Import(path) => found.extend(self.resolve(module, path)),
            }
        }
        if found.is_empty() {
            for glob in &of.modules[module].globs {
                for target in self.resolve(module, glob) {
                    // the variants of an enum are where the enum is, but the names of a module may be from anywhere
                    if let Target::Module(id) = target
                        && self.under_way.insert((id, vec!["*".into(), name.into()]))
                    {
                        found.extend(self.look_up_name(id, name));
                        self.under_way.remove(&(id, vec!["*".into(), name.into()]));
                    }
                }
            }
        }
        if found.is_empty() {
            found.extend(of.macros.get(name).into_iter().flatten().map(|id| Target::Item(*id)));
        }
        found
    }
}
