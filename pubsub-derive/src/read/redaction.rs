//! Reads `#[channel(redact)]` on fields, and refuses every other `#[channel]` inside the type.

use super::channel_attr;
use super::field_path::spelled;
use super::fields::Fields;
use super::item::{self, Item, Value};
use crate::errors::Errors;
use crate::suggest;
use syn::ext::IdentExt as _;
use syn::{Attribute, Member, Meta};

/// The fields of a struct or a variant, and whether each is redacted.
pub(crate) struct Redaction<'a> {
    pub(crate) variant: Option<&'a syn::Ident>,
    pub(crate) fields: Vec<(Member, bool)>,
}

impl Redaction<'_> {
    /// Returns the names of the redacted fields: `to`, or `Card.number` in an enum.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.fields.iter().filter(|(_, redacted)| *redacted).map(|(member, _)| match self.variant {
            Some(variant) => format!("{}.{}", variant.unraw(), spelled(member)),
            None => spelled(member),
        })
    }
}

/// Reads which fields are redacted. Returns nothing if none is.
pub(crate) fn read<'a>(fields: &Fields<'a>, errors: &mut Errors) -> Vec<Redaction<'a>> {
    let mut read = Vec::new();
    for variant in &fields.variants {
        for attr in channel_attr::channel_attrs(variant.attrs) {
            errors.push(
                attr,
                "`#[channel(..)]` is not allowed on a variant\n\
                 to redact the whole variant, write `#[channel(redact)]` on each of its fields",
            );
        }
        let fields = variant.fields.iter();
        let fields =
            fields.map(|(member, field)| (member.clone(), is_redacted(&field.attrs, errors))).collect();
        read.push(Redaction { variant: variant.name, fields });
    }
    if read.iter().all(|redaction| redaction.names().next().is_none()) {
        read.clear();
    }
    read
}

/// Whether a field is redacted.
fn is_redacted(attrs: &[Attribute], errors: &mut Errors) -> bool {
    let mut redacted = false;
    for attr in channel_attr::channel_attrs(attrs) {
        let Meta::List(list) = &attr.meta else {
            errors.push(
                attr,
                "`#[channel]` has no effect on a field\nwrite `#[channel(redact)]`, or remove it",
            );
            continue;
        };
        let items = item::split(list.tokens.clone(), errors);
        if items.is_empty() {
            errors.push(
                attr,
                "`#[channel()]` has no effect on a field\nwrite `#[channel(redact)]`, or remove it",
            );
        }
        for item in items {
            match item {
                Item::Keyed(word, Value::Missing) if word == "redact" && redacted => {
                    errors.push(&word, "duplicate `redact`\nremove one of the two");
                }
                Item::Keyed(word, Value::Missing) if word == "redact" => redacted = true,
                Item::Keyed(word, Value::Assigned(tokens)) if word == "redact" => {
                    errors.push(tokens, "`redact` takes no value\nwrite `#[channel(redact)]`");
                }
                Item::Keyed(word, Value::List(_, group)) if word == "redact" => {
                    errors.push(group, "`redact` takes no value\nwrite `#[channel(redact)]`");
                }
                Item::Keyed(word, _) => errors.push(&word, unknown(&word.to_string())),
                Item::Bare(value) => errors.push(
                    &value,
                    format!(
                        "unexpected `{value}`: on a field, `#[channel(..)]` takes only `redact`\n\
                         write the channel's name and its keys above the `struct` or `enum`"
                    ),
                ),
            }
        }
    }
    redacted
}

fn unknown(word: &str) -> String {
    let advice = match suggest::nearest(word, ["redact"]) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if channel_attr::is_key(word) => {
            format!("; `{word}` applies to the whole type: write it above the `struct` or `enum`")
        }
        None => String::new(),
    };
    format!("unknown key `{word}`{advice}\nallowed on a field: `redact`")
}
