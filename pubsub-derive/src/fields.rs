//! The fields of the type, and finding the one that an attribute names.

use crate::errors::Errors;
use crate::field::{FieldPath, spelled};
use crate::item::{self, Item, Value};
use crate::suggest;
use proc_macro2::{Span, TokenStream};
use syn::{Attribute, Data, DeriveInput, Field, Ident, Index, Lit, Member};

/// The fields of a struct, or of each variant of an enum.
pub(crate) struct Fields<'a> {
    of: &'a Ident,
    is_enum: bool,
    pub(crate) variants: Vec<Variant<'a>>,
}

/// A struct, or a variant of an enum.
pub(crate) struct Variant<'a> {
    /// `None` is the struct itself.
    pub(crate) name: Option<&'a Ident>,
    pub(crate) attrs: &'a [Attribute],
    pub(crate) fields: Vec<(Member, &'a Field)>,
}

/// How to reach a field that an attribute names, whatever the variant.
pub(crate) struct Access<'a> {
    /// The field in each variant, with the user's tokens as its place.
    pub(crate) members: Vec<(Option<&'a Ident>, Member)>,
    /// Fields inside of it.
    pub(crate) rest: Vec<Member>,
    /// Where the user wrote it.
    pub(crate) at: Span,
}

impl<'a> Fields<'a> {
    /// The fields of the type in `input`. A union has none: it is refused elsewhere.
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

    /// A field that every variant has, for examples in messages.
    pub(crate) fn example(&self) -> Option<String> {
        let (first, others) = self.variants.split_first()?;
        let in_all = |name: &String| others.iter().all(|other| other.find(name).is_some());
        first.fields.iter().map(|(member, _)| spelled(member)).find(in_all)
    }

    /// Finds the field that `path` begins with. What is behind the first dot is for the compiler.
    pub(crate) fn resolve(&self, path: FieldPath, key: &str, errors: &mut Errors) -> Option<Access<'a>> {
        let name = spelled(&path.first);
        let at = Place(path.at);
        let mut members = Vec::new();
        let mut without = Vec::new();
        let mut skipped = None;
        for variant in &self.variants {
            match variant.find(&name) {
                Some((member, field)) => {
                    skipped = skipped.or_else(|| serde(&field.attrs).skipped);
                    members.push((variant.name, respanned(member.clone(), path.at)));
                }
                None => without.extend(variant.name),
            }
        }
        if members.is_empty() {
            errors.push(at, self.unknown(&path, key));
            return None;
        }
        if !without.is_empty() {
            let variants = list(without.into_iter().map(ToString::to_string));
            let of = self.of;
            let message = format!(
                "not every variant of `{of}` has a field `{name}`: {variants} cannot be given a key\n\
                 `{key}` takes a field that all variants have"
            );
            errors.push(at, message);
            return None;
        }
        if let Some(word) = skipped {
            let message = format!(
                "`{name}` is not part of the payload, because it is `#[serde({word})]`\n\
                 whoever reads the event could not tell its key: choose another field, or remove `{word}`"
            );
            errors.push(at, message);
            return None;
        }
        Some(Access { members, rest: path.rest, at: path.at })
    }

    /// What to say of a field that is in no variant.
    fn unknown(&self, path: &FieldPath, key: &str) -> String {
        let (of, name) = (self.of, spelled(&path.first));
        let mut fields: Vec<String> = Vec::new();
        for (member, _) in self.variants.iter().flat_map(|variant| &variant.fields) {
            let field = spelled(member);
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        let has_no = match self.is_enum {
            true => format!("no variant of `{of}` has a field `{name}`"),
            false => format!("`{of}` has no field `{name}`"),
        };
        if fields.is_empty() {
            return format!("{has_no}, nor any other\nleave `{key}` out");
        }
        let all = list(fields.iter().cloned());
        if let (true, Some(Member::Named(inside))) = (name == "self", path.rest.first()) {
            return format!("`{key}` takes a field, not an expression\nwrite it without `self`: `{inside}`");
        }
        let attributed =
            || self.variants.iter().flat_map(|v| &v.fields).map(|(m, f)| (spelled(m), serde(&f.attrs)));
        let renamed = attributed().find(|(_, serde)| serde.renamed.as_deref() == Some(&name));
        let advice = match (renamed, suggest::nearest(&name, fields.iter().map(String::as_str))) {
            (Some((field, _)), _) => {
                format!(
                    "; did you mean `{field}`? `{name}` is what serde calls it, and here it has its own name"
                )
            }
            (None, Some(meant)) => format!("; did you mean `{meant}`?"),
            (None, None) => String::new(),
        };
        let flattened = attributed().find(|(_, serde)| serde.is_flattened);
        let inside = flattened.map_or_else(String::new, |(field, _)| {
            format!("; a field inside of `{field}` is named by its path: `{field}.{name}`")
        });
        let kind = if self.is_enum { "the fields of its variants are" } else { "its fields are" };
        format!("{has_no}{advice}\n{kind} {all}{inside}")
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

    fn find(&self, name: &str) -> Option<&(Member, &'a Field)> {
        self.fields.iter().find(|(member, _)| spelled(member) == name)
    }
}

/// `member` as it was declared, at the place where the user named it.
fn respanned(mut member: Member, at: Span) -> Member {
    match &mut member {
        Member::Named(name) => name.set_span(name.span().located_at(at)),
        Member::Unnamed(index) => index.span = at,
    }
    member
}

/// `a`, `b`, `c`, in backquotes.
pub(crate) fn list(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What serde was told about a field.
#[derive(Default)]
struct Serde {
    /// The word that leaves it out of the payload.
    skipped: Option<&'static str>,
    renamed: Option<String>,
    is_flattened: bool,
}

fn serde(attrs: &[Attribute]) -> Serde {
    let mut told = Serde::default();
    let lists = attrs.iter().filter(|attr| attr.path().is_ident("serde"));
    for list in lists.filter_map(|attr| attr.meta.require_list().ok()) {
        // What is wrong with it is serde's to say.
        for item in item::split(list.tokens.clone(), &mut Errors::default()) {
            match item {
                Item::Keyed(word, Value::Missing) if word == "skip" => told.skipped = Some("skip"),
                Item::Keyed(word, Value::Missing) if word == "skip_serializing" => {
                    told.skipped = Some("skip_serializing");
                }
                Item::Keyed(word, Value::Missing) if word == "flatten" => told.is_flattened = true,
                Item::Keyed(word, Value::Assigned(value)) if word == "rename" => {
                    told.renamed = match syn::parse2(value) {
                        Ok(Lit::Str(name)) => Some(name.value()),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
    }
    told
}

/// A place to report at, of which only the span is left.
struct Place(Span);

impl quote::ToTokens for Place {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        // Never printed: an error takes the spans of its tokens and nothing else.
        tokens.extend([proc_macro2::TokenTree::from(Ident::new("_place", self.0))]);
    }
}
