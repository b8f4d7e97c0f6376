//! Finds the field that an attribute names.

use crate::errors::{Errors, quoted_list};
use crate::read::field_path::{FieldPath, spelled};
use crate::read::fields::Fields;
use crate::read::serde_attrs::SerdeAttrs;
use crate::suggest;
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Ident, Member};

/// How to reach a field that an attribute names, whatever the variant.
pub(crate) struct FieldAccess<'a> {
    /// The field in each variant, with the span of the user's tokens.
    pub(crate) members: Vec<(Option<&'a Ident>, Member)>,
    /// Fields inside that field.
    pub(crate) rest: Vec<Member>,
    /// Where the user wrote the path.
    pub(crate) at: Span,
}

/// Finds the field that `path` begins with. The compiler checks the rest of the path.
pub(super) fn resolve<'a>(
    fields: &Fields<'a>,
    path: FieldPath,
    key: &str,
    errors: &mut Errors,
) -> Option<FieldAccess<'a>> {
    let name = spelled(&path.first);
    let mut members = Vec::new();
    let mut without = Vec::new();
    let mut skipped = None;
    for variant in &fields.variants {
        match variant.find(&name) {
            Some((member, field)) => {
                skipped = skipped.or_else(|| SerdeAttrs::read(&field.attrs).why_not_written());
                members.push((variant.name, respanned(member.clone(), path.at)));
            }
            None => without.extend(variant.name),
        }
    }
    let message = if members.is_empty() {
        unknown(fields, &path, key)
    } else if !without.is_empty() {
        let (of, variants) = (fields.of, quoted_list(without));
        format!(
            "not every variant of `{of}` has a field `{name}`: {variants} would have no key\n\
             `{key}` takes a field that all variants have"
        )
    } else if let Some(word) = skipped {
        format!(
            "`{name}` is not part of the payload, because it is `#[serde({word})]`\n\
             readers of the event could not tell its key: choose another field, or remove `{word}`"
        )
    } else {
        return Some(FieldAccess { members, rest: path.rest, at: path.at });
    };
    errors.push(SpanOnly(path.at), message);
    None
}

/// Returns the message for a field that is in no variant.
fn unknown(fields: &Fields<'_>, path: &FieldPath, key: &str) -> String {
    let (of, name) = (fields.of, spelled(&path.first));
    let mut names: Vec<String> = Vec::new();
    for field in fields.all().map(|(member, _)| spelled(member)) {
        if !names.contains(&field) {
            names.push(field);
        }
    }
    let has_no = match fields.is_enum {
        true => format!("no variant of `{of}` has a field `{name}`"),
        false => format!("`{of}` has no field `{name}`"),
    };
    if names.is_empty() {
        return format!("{has_no}, because it has no fields\nleave `{key}` out");
    }
    if let (true, Some(Member::Named(inside))) = (name == "self", path.rest.first()) {
        return format!("`{key}` takes a field, not an expression\nwrite it without `self`: `{inside}`");
    }
    let with_attrs = || fields.all().map(|(member, field)| (spelled(member), SerdeAttrs::read(&field.attrs)));
    let renamed = with_attrs().find(|(_, serde)| serde.is_renamed_to(&name));
    let advice = match (renamed, suggest::nearest(&name, names.iter().map(String::as_str))) {
        (Some((field, _)), _) => {
            format!(
                "; did you mean `{field}`? `{name}` is its name in the JSON, and attributes use its name in Rust"
            )
        }
        (None, Some(meant)) => format!("; did you mean `{meant}`?"),
        (None, None) => String::new(),
    };
    let flattened = with_attrs().find(|(_, serde)| serde.has("flatten"));
    let inside = flattened.map_or_else(String::new, |(field, _)| {
        format!("; for a field inside `{field}`, write its path: `{field}.{name}`")
    });
    let kind = if fields.is_enum { "the fields of its variants are" } else { "its fields are" };
    format!("{has_no}{advice}\n{kind} {}{inside}", quoted_list(names))
}

/// Returns `member` as it is declared, with the span where the user named it.
fn respanned(mut member: Member, at: Span) -> Member {
    match &mut member {
        Member::Named(name) => name.set_span(name.span().located_at(at)),
        Member::Unnamed(index) => index.span = at,
    }
    member
}

/// A span, as tokens to report an error at.
struct SpanOnly(Span);

impl quote::ToTokens for SpanOnly {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        // Never printed: an error takes the spans of its tokens and nothing else.
        tokens.extend([TokenTree::from(Ident::new("_span", self.0))]);
    }
}
