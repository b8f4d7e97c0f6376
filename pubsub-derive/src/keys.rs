//! Checks `key`, `ordered` and `dedupe` against the fields of the type.

use crate::errors::Errors;
use crate::field::FieldPath;
use crate::fields::{Access, Fields};
use crate::template::{self, Piece};
use crate::value::{Given, Setting};
use proc_macro2::TokenStream;
use syn::LitStr;

/// What `key`, `ordered` and `dedupe` said.
#[derive(Default)]
pub(crate) struct KeysAttr {
    pub(crate) key: Setting<Given<FieldPath>>,
    /// The word, for messages.
    pub(crate) ordered: Setting<TokenStream>,
    pub(crate) dedupe: Setting<LitStr>,
}

/// How a channel's events get their keys.
pub(crate) struct Keys<'a> {
    pub(crate) key: Option<Access<'a>>,
    pub(crate) ordered: bool,
    pub(crate) dedupe: Option<Vec<Part<'a>>>,
}

/// A part of a dedupe key.
pub(crate) enum Part<'a> {
    Text(String),
    Field(Access<'a>),
}

/// Checks what the attribute says about keys. `fields` is `None` for a type that can have no keys at all, which is reported
/// elsewhere.
pub(crate) fn check<'a>(attr: KeysAttr, fields: Option<&Fields<'a>>, errors: &mut Errors) -> Keys<'a> {
    let KeysAttr { key, ordered, dedupe } = attr;
    let Some(fields) = fields else { return Keys { key: None, ordered: false, dedupe: None } };
    if let (Setting::Unset, Setting::Set(word)) = (&key, &ordered) {
        let add = match fields.example() {
            Some(field) => format!("add `key = {field}`, or whichever field the events are ordered by"),
            None => "a type without a field that all its events have cannot be ordered: leave `ordered` out"
                .to_owned(),
        };
        errors.push(word, format!("`ordered` needs a `key`: events without one are in no order\n{add}"));
    }
    let key = key.and_then(|given| fields.resolve(given.value, "key", errors));
    Keys {
        ordered: matches!((&key, &ordered), (Setting::Set(_), Setting::Set(_))),
        key: key.set(),
        dedupe: dedupe.and_then(|literal| check_dedupe(&literal, fields, errors)).set(),
    }
}

fn check_dedupe<'a>(literal: &LitStr, fields: &Fields<'a>, errors: &mut Errors) -> Option<Vec<Part<'a>>> {
    let pieces = match template::parse(&literal.value(), literal.span(), fields.example().as_deref()) {
        Ok(pieces) => pieces,
        Err(message) => {
            errors.push(literal, message);
            return None;
        }
    };
    // Every one is looked at, so that all mistakes are told at once.
    let parts: Vec<Option<Part<'a>>> = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(Part::Text(text)),
            Piece::Field(path) => fields.resolve(path, "dedupe", errors).map(Part::Field),
        })
        .collect();
    parts.into_iter().collect()
}
