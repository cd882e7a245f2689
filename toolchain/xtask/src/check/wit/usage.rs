//! Which types of the contracts nobody uses.
//!
//! A type is of use when a function takes or returns it, or a type that holds it: everything else is a leftover.

use std::collections::HashSet;

use wit_parser::{Resolve, Type, TypeDefKind, TypeId};

use super::is_use;

/// A finding for every type, and for every name in a `use`, that no function reaches.
pub(super) fn unused(resolve: &Resolve) -> Vec<String> {
    let mut reached = HashSet::new();
    let functions = resolve.interfaces.iter().flat_map(|(_, interface)| interface.functions.values());
    let imported = resolve.worlds.iter().flat_map(|(_, world)| world.imports.values().chain(world.exports.values()));
    let free = imported.filter_map(|item| match item {
        wit_parser::WorldItem::Function(function) => Some(function),
        wit_parser::WorldItem::Interface { .. } | wit_parser::WorldItem::Type { .. } => None,
    });
    for function in functions.chain(free) {
        for ty in function.params.iter().map(|parameter| parameter.ty).chain(function.result) {
            reach(resolve, ty, &mut reached);
        }
        if let Some(id) = function.kind.resource() {
            reach(resolve, Type::Id(id), &mut reached);
        }
    }
    let left = resolve.types.iter().filter(|(id, definition)| definition.name.is_some() && !reached.contains(id));
    left.map(|(_, definition)| {
        let name = definition.name.as_deref().unwrap_or_default();
        let location = resolve.render_location(definition.span);
        let what = if is_use(resolve, definition) { "`use` of" } else { definition.kind.as_str() };
        format!("{location}: {what} `{name}` is used by no function")
    })
    .collect()
}

fn reach(resolve: &Resolve, ty: Type, reached: &mut HashSet<TypeId>) {
    let Type::Id(id) = ty else { return };
    if !reached.insert(id) {
        return;
    }
    if let Some(definition) = resolve.types.get(id) {
        inner_types(&definition.kind).into_iter().for_each(|inner| reach(resolve, inner, reached));
    }
}

/// The types that a type is made of.
pub(super) fn inner_types(kind: &TypeDefKind) -> Vec<Type> {
    match kind {
        TypeDefKind::Record(record) => record.fields.iter().map(|field| field.ty).collect(),
        TypeDefKind::Tuple(tuple) => tuple.types.clone(),
        TypeDefKind::Variant(variant) => variant.cases.iter().filter_map(|case| case.ty).collect(),
        TypeDefKind::Result(result) => result.ok.into_iter().chain(result.err).collect(),
        TypeDefKind::Future(inner) | TypeDefKind::Stream(inner) => inner.iter().copied().collect(),
        TypeDefKind::Option(inner)
        | TypeDefKind::List(inner)
        | TypeDefKind::FixedLengthList(inner, _)
        | TypeDefKind::Type(inner) => vec![*inner],
        TypeDefKind::Map(key, value) => vec![*key, *value],
        TypeDefKind::Handle(wit_parser::Handle::Own(id) | wit_parser::Handle::Borrow(id)) => vec![Type::Id(*id)],
        TypeDefKind::Resource | TypeDefKind::Flags(_) | TypeDefKind::Enum(_) | TypeDefKind::Unknown => Vec::new(),
    }
}
