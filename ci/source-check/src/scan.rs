//! What one item of a module mentions and defines.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Meta, UseTree, Visibility};

use crate::modules::{Mention, Reference, Segments};

/// A name that an item brings into its module.
#[derive(Debug)]
pub(crate) enum Name {
    Item(String),
    Macro { name: String, exported: bool },
    Import(String, Segments),
    Glob(Segments),
}

/// What [`scan`] finds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) names: Vec<Name>,
    pub(crate) references: Vec<Reference>,
}

/// Finds the names that an item defines, and all paths in it, those in macros included.
pub(crate) fn scan(item: &Item) -> Found {
    let mut found = Found::default();
    found.names.extend(defined(item));
    found.visit_item(item);
    found
}

/// An identifier without `r#`.
pub(crate) fn plain(ident: &proc_macro2::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

/// The value of `#[path = "…"]`.
pub(crate) fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

/// Whether these attributes leave something to `cargo test`: `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]`.
pub(crate) fn only_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|meta| implies_test(&meta))
    })
}

fn implies_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|parts| parts.iter().any(implies_test)),
        _ => false,
    }
}

/// The attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::ExternCrate(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::ForeignMod(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::TraitAlias(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Union(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// The name that an item defines by itself; imports are found by the visitor.
fn defined(item: &Item) -> Option<Name> {
    let ident = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::TraitAlias(it) => &it.ident,
        Item::Type(it) => &it.ident,
        Item::Union(it) => &it.ident,
        Item::Macro(it) => {
            let exported = it.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
            return it.ident.as_ref().map(|ident| Name::Macro { name: plain(ident), exported });
        }
        _ => return None,
    };
    Some(Name::Item(plain(ident)))
}

impl Found {
    fn add(&mut self, segments: Segments, line: usize, mention: Mention) {
        self.references.push(Reference { segments, line, mention });
    }

    /// Takes a tree of `use` apart.
    fn add_use(&mut self, tree: &UseTree, prefix: &Segments, private: bool) {
        let with =
            |ident: &proc_macro2::Ident| prefix.iter().cloned().chain([plain(ident)]).collect::<Segments>();
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident), private),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree, prefix, private)),
            UseTree::Name(name) => self.add_import(&name.ident, &name.ident, prefix, private),
            UseTree::Rename(rename) => self.add_import(&rename.ident, &rename.rename, prefix, private),
            UseTree::Glob(glob) => {
                self.names.push(Name::Glob(prefix.clone()));
                if private {
                    self.add(prefix.clone(), glob.star_token.spans[0].start().line, Mention::Glob);
                }
            }
        }
    }

    fn add_import(
        &mut self,
        ident: &proc_macro2::Ident,
        name: &proc_macro2::Ident,
        prefix: &Segments,
        private: bool,
    ) {
        let mut segments = prefix.clone();
        let itself = ident == "self" && !prefix.is_empty();
        if !itself {
            segments.push(plain(ident));
        }
        let known_as =
            if itself && name == "self" { segments.last().cloned().unwrap_or_default() } else { plain(name) };
        self.names.push(Name::Import(known_as, segments.clone()));
        self.add(
            segments,
            ident.span().start().line,
            if private { Mention::Import } else { Mention::ReExport },
        );
    }

    /// Finds paths in tokens that were not parsed: `a::b`, `$crate::a`, and single names.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        // colons since the last name; whether a name that comes now is a field or a method
        let (mut line, mut colons, mut member) = (0, 0, false);
        for token in tokens {
            if let TokenTree::Ident(ident) = &token {
                if colons != 2 {
                    self.end_path(&mut path, line);
                    line = ident.span().start().line;
                }
                if !member {
                    path.push(plain(ident));
                }
                (colons, member) = (0, false);
                continue;
            }
            let punct = if let TokenTree::Punct(punct) = &token { punct.as_char() } else { ' ' };
            if punct == ':' {
                colons += 1;
                continue;
            }
            self.end_path(&mut path, line);
            (colons, member) = (0, punct == '.');
            if let TokenTree::Group(group) = token {
                self.add_tokens(group.stream());
            }
        }
        self.end_path(&mut path, line);
    }

    fn end_path(&mut self, path: &mut Segments, line: usize) {
        if !path.is_empty() {
            self.add(std::mem::take(path), line, Mention::Inline);
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Const(it) => &it.attrs,
            syn::ImplItem::Fn(it) => &it.attrs,
            syn::ImplItem::Macro(it) => &it.attrs,
            syn::ImplItem::Type(it) => &it.attrs,
            _ => &[],
        };
        if !only_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !only_for_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !only_for_tests(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !only_for_tests(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !only_for_tests(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !only_for_tests(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            let private = matches!(item.vis, Visibility::Inherited);
            self.add_use(&item.tree, &Segments::new(), private);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
            self.add(
                path.segments.iter().map(|segment| plain(&segment.ident)).collect(),
                line,
                Mention::Inline,
            );
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        self.visit_path(&invoked.path);
        self.add_tokens(invoked.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        // documentation and lints name things without using them
        if let Meta::List(list) = &attribute.meta
            && !["cfg", "allow", "expect", "warn", "deny", "cfg_attr", "derive"]
                .iter()
                .any(|name| list.path.is_ident(name))
        {
            self.add_tokens(list.tokens.clone());
        }
    }
}
