//! The fields of a type, by variant.

use super::field_path::spelled;
use proc_macro2::Span;
use syn::{Attribute, Data, DeriveInput, Field, Ident, Index, Member};

/// The fields of a struct, or of each variant of an enum.
pub(crate) struct Fields<'a> {
    pub(crate) of: &'a Ident,
    pub(crate) is_enum: bool,
    pub(crate) variants: Vec<Variant<'a>>,
}

/// A struct, or a variant of an enum.
pub(crate) struct Variant<'a> {
    /// `None` is the struct itself.
    pub(crate) name: Option<&'a Ident>,
    pub(crate) attrs: &'a [Attribute],
    pub(crate) fields: Vec<(Member, &'a Field)>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of the type in `input`. A union has none: it is refused elsewhere.
    pub(crate) fn new(input: &'a DeriveInput) -> Self {
        let variants = match &input.data {
            Data::Struct(data) => vec![Variant::new(None, &[], &data.fields)],
            Data::Enum(data) => {
                data.variants.iter().map(|v| Variant::new(Some(&v.ident), &v.attrs, &v.fields)).collect()
            }
            Data::Union(_) => Vec::new(),
        };
        Self { of: &input.ident, is_enum: matches!(input.data, Data::Enum(_)), variants }
    }

    /// Returns a field that every variant has, for examples in messages.
    pub(crate) fn example(&self) -> Option<String> {
        let (first, others) = self.variants.split_first()?;
        let in_all = |name: &String| others.iter().all(|other| other.find(name).is_some());
        first.fields.iter().map(|(member, _)| spelled(member)).find(in_all)
    }

    /// Returns every field of every variant.
    pub(crate) fn all(&self) -> impl Iterator<Item = &(Member, &'a Field)> {
        self.variants.iter().flat_map(|variant| &variant.fields)
    }
}

impl<'a> Variant<'a> {
    fn new(name: Option<&'a Ident>, attrs: &'a [Attribute], fields: &'a syn::Fields) -> Self {
        let member = |(place, field): (usize, &'a Field)| {
            let index = || Index { index: u32::try_from(place).unwrap_or(u32::MAX), span: Span::call_site() };
            (field.ident.clone().map_or_else(|| Member::Unnamed(index()), Member::Named), field)
        };
        Self { name, attrs, fields: fields.iter().enumerate().map(member).collect() }
    }

    /// Finds the field with this name or index.
    pub(crate) fn find(&self, name: &str) -> Option<&(Member, &'a Field)> {
        self.fields.iter().find(|(member, _)| spelled(member) == name)
    }
}
