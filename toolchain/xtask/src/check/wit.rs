//! Judges the contracts: they resolve together, every item is documented, names are words of the design, nothing is
//! left over.
//!
//! Contracts change slowest of all, so what a reader could stumble over is refused before others build on it.

mod usage;

use std::fs;

use anyhow::{Context, Result, bail};
use wit_parser::{
    Docs, Function, Interface, Package, Resolve, Span, Type, TypeDef, TypeDefKind, TypeOwner, UnresolvedPackageGroup,
    World, WorldItem, WorldKey,
};

use crate::repository::Repository;

/// Words that say nothing, as a name or as its last word.
const EMPTY_WORDS: [&str; 18] = [
    "manager",
    "handler",
    "helper",
    "util",
    "utils",
    "common",
    "misc",
    "base",
    "core",
    "service",
    "processor",
    "wrapper",
    "impl",
    "data",
    "info",
    "new",
    "old",
    "v2",
];

/// Names that end in such a word because the field's own term does.
const TERMS: [&str; 3] = ["dry-base", "info", "rope-freq-base"];

/// Items that may hold a 64-bit integer, which is a BigInt in JavaScript: those that can exceed 2^32.
const WIDE: [&str; 2] = ["gpu-memory-safety-margin-bytes", "max-snapshot-bytes"];

/// Namespace of the standard, whose names and widths are not ours to judge.
const STANDARD: &str = "wasi";

/// Every finding, as a line that names file, line and item.
///
/// # Errors
/// When a package does not parse, or they do not resolve together.
pub(super) fn check(repository: &Repository) -> Result<Vec<String>> {
    let mut groups = Vec::new();
    let mut folders: Vec<_> =
        fs::read_dir(repository.root().join("wit"))?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders.iter().filter(|path| path.is_dir()) {
        let group = UnresolvedPackageGroup::parse_dir(folder).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        groups.push(group);
    }
    let root = format!("{}/", repository.root().display());
    Ok(judge(groups)?.into_iter().map(|finding| finding.replace(&root, "")).collect())
}

/// Resolves packages together and judges each.
fn judge(mut groups: Vec<UnresolvedPackageGroup>) -> Result<Vec<String>> {
    let Some(last) = groups.pop() else { bail!("wit/ holds no package") };
    let mut resolve = Resolve::new();
    if let Err(error) = resolve.push_groups(last, groups) {
        bail!("the packages do not resolve together: {}", resolve.render_error(&error.into()));
    }
    let mut lint = Lint { resolve: &resolve, findings: Vec::new(), standard: false };
    for (_, package) in &resolve.packages {
        lint.package(package).with_context(|| format!("package {}", package.name))?;
    }
    let mut findings = lint.findings;
    findings.extend(usage::unused(&resolve));
    findings.sort();
    Ok(findings)
}

/// Walks through packages and collects what is wrong.
struct Lint<'a> {
    resolve: &'a Resolve,
    findings: Vec<String>,
    /// Whether the package at hand is the standard's.
    standard: bool,
}

impl Lint<'_> {
    fn package(&mut self, package: &Package) -> Result<()> {
        self.standard = package.name.namespace == STANDARD;
        for id in package.interfaces.values() {
            self.interface(self.resolve.interfaces.get(*id).context("an interface is lost")?);
        }
        for id in package.worlds.values() {
            self.world(self.resolve.worlds.get(*id).context("a world is lost")?);
        }
        Ok(())
    }

    fn interface(&mut self, interface: &Interface) {
        let name = interface.name.as_deref().unwrap_or("an interface without name");
        self.item("interface", name, &interface.docs, interface.span);
        for id in interface.types.values() {
            if let Some(definition) = self.resolve.types.get(*id) {
                self.definition(definition);
            }
        }
        for function in interface.functions.values() {
            self.function(function);
        }
    }

    fn world(&mut self, world: &World) {
        self.item("world", &world.name, &world.docs, world.span);
        for (key, item) in world.imports.iter().chain(&world.exports) {
            match item {
                WorldItem::Interface { id, docs, span, .. } => {
                    let name = self.resolve.name_world_key(key);
                    // What an interface uses is imported along with it; nobody wrote that line.
                    if span.is_known() && docs.is_empty() {
                        self.find(*span, &format!("{} of `{name}` has no `///`", "the import or export"));
                    }
                    if let (WorldKey::Name(_), Some(inline)) = (key, self.resolve.interfaces.get(*id)) {
                        self.interface(inline);
                    }
                }
                WorldItem::Function(function) => self.function(function),
                WorldItem::Type { id, .. } => {
                    if let Some(definition) = self.resolve.types.get(*id) {
                        self.definition(definition);
                    }
                }
            }
        }
    }

    fn definition(&mut self, definition: &TypeDef) {
        let name = definition.name.as_deref().unwrap_or_default();
        if is_use(self.resolve, definition) {
            return;
        }
        self.item(definition.kind.as_str(), name, &definition.docs, definition.span);
        match &definition.kind {
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    self.item("field", &field.name, &field.docs, field.span);
                    self.width(&field.name, Some(field.ty), field.span);
                }
            }
            TypeDefKind::Flags(flags) => {
                flags.flags.iter().for_each(|flag| self.item("flag", &flag.name, &flag.docs, flag.span));
            }
            TypeDefKind::Enum(enumeration) => {
                enumeration.cases.iter().for_each(|case| self.item("case", &case.name, &case.docs, case.span));
            }
            TypeDefKind::Variant(variant) => {
                for case in &variant.cases {
                    self.item("case", &case.name, &case.docs, case.span);
                    self.width(&case.name, case.ty, case.span);
                }
            }
            TypeDefKind::Type(aliased) => self.width(name, Some(*aliased), definition.span),
            TypeDefKind::Resource
            | TypeDefKind::Handle(_)
            | TypeDefKind::Tuple(_)
            | TypeDefKind::Option(_)
            | TypeDefKind::Result(_)
            | TypeDefKind::List(_)
            | TypeDefKind::Map(..)
            | TypeDefKind::FixedLengthList(..)
            | TypeDefKind::Future(_)
            | TypeDefKind::Stream(_)
            | TypeDefKind::Unknown => usage::inner_types(&definition.kind)
                .into_iter()
                .for_each(|ty| self.width(name, Some(ty), definition.span)),
        }
    }

    fn function(&mut self, function: &Function) {
        let name = function.item_name();
        self.item("function", name, &function.docs, function.span);
        for parameter in &function.params {
            self.name("parameter", &parameter.name, parameter.span);
            self.width(&parameter.name, Some(parameter.ty), parameter.span);
        }
        self.width(name, function.result, function.span);
    }

    fn item(&mut self, what: &str, name: &str, docs: &Docs, span: Span) {
        if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
            self.find(span, &format!("{what} `{name}` has no `///`"));
        }
        self.name(what, name, span);
    }

    fn name(&mut self, what: &str, name: &str, span: Span) {
        let last = name.rsplit('-').next().unwrap_or(name);
        if !self.standard && EMPTY_WORDS.contains(&last) && !TERMS.contains(&name) {
            self.find(span, &format!("{what} `{name}` ends in `{last}`, which says nothing"));
        }
    }

    /// Looks through what has no name of its own, such as `option<u64>`.
    fn width(&mut self, name: &str, ty: Option<Type>, span: Span) {
        match ty {
            Some(Type::U64 | Type::S64) if !self.standard && !WIDE.contains(&name) => {
                self.find(span, &format!("`{name}` is a 64-bit integer; list it as one that exceeds 2^32, or use u32"));
            }
            Some(Type::Id(id)) => {
                let unnamed = self.resolve.types.get(id).filter(|definition| definition.name.is_none());
                let inner = unnamed.map(|definition| usage::inner_types(&definition.kind)).unwrap_or_default();
                inner.into_iter().for_each(|ty| self.width(name, Some(ty), span));
            }
            _ => {}
        }
    }

    fn find(&mut self, span: Span, what: &str) {
        self.findings.push(format!("{}: {what}", self.resolve.render_location(span)));
    }
}

/// Whether a type was brought in by `use`: its documentation is where it was defined.
fn is_use(resolve: &Resolve, definition: &TypeDef) -> bool {
    let TypeDefKind::Type(Type::Id(id)) = definition.kind else { return false };
    let original = resolve.types.get(id);
    original.is_some_and(|original| original.owner != TypeOwner::None && original.owner != definition.owner)
}

#[cfg(test)]
mod tests;
