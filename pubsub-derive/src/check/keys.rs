//! Checks `key`, `ordered` and `dedupe` against the fields of the type.

use super::field_access::{self, FieldAccess};
use crate::errors::Errors;
use crate::read::channel_attr::KeysAttr;
use crate::read::fields::Fields;
use crate::read::template::{self, Piece};
use crate::read::value::Setting;
use syn::LitStr;

/// The fields that make the keys of a channel's events.
pub(crate) struct Keys<'a> {
    pub(crate) key: Option<FieldAccess<'a>>,
    pub(crate) ordered: bool,
    pub(crate) dedupe: Option<Vec<DedupePiece<'a>>>,
}

/// A piece of a deduplication key.
pub(crate) enum DedupePiece<'a> {
    Text(String),
    Field(FieldAccess<'a>),
}

/// Checks the keys against the fields. `fields` is `None` for a type that cannot have keys, which is reported elsewhere.
pub(crate) fn check<'a>(attr: KeysAttr, fields: Option<&Fields<'a>>, errors: &mut Errors) -> Keys<'a> {
    let KeysAttr { key, ordered, dedupe } = attr;
    let Some(fields) = fields else { return Keys { key: None, ordered: false, dedupe: None } };
    if let (Setting::Unset, Setting::Set(word)) = (&key, &ordered) {
        let add = match fields.example() {
            Some(field) => format!("add `key = {field}`, or the field by which the events are ordered"),
            None => {
                "no field is in every event, so the events cannot be ordered: leave `ordered` out".to_owned()
            }
        };
        errors.push(word, format!("`ordered` needs a `key`: events without a key have no order\n{add}"));
    }
    let key = key.and_then(|path| field_access::resolve(fields, path.value, "key", errors));
    Keys {
        ordered: matches!((&key, &ordered), (Setting::Set(_), Setting::Set(_))),
        key: key.set(),
        dedupe: dedupe.and_then(|literal| check_dedupe(&literal, fields, errors)).set(),
    }
}

fn check_dedupe<'a>(
    literal: &LitStr,
    fields: &Fields<'a>,
    errors: &mut Errors,
) -> Option<Vec<DedupePiece<'a>>> {
    let pieces = match template::parse(&literal.value(), literal.span(), fields.example().as_deref()) {
        Ok(pieces) => pieces,
        Err(message) => {
            errors.push(literal, message);
            return None;
        }
    };
    // Collected first, so that every mistake is reported.
    let pieces: Vec<Option<DedupePiece<'a>>> = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(DedupePiece::Text(text)),
            Piece::Field(path) => {
                field_access::resolve(fields, path, "dedupe", errors).map(DedupePiece::Field)
            }
        })
        .collect();
    pieces.into_iter().collect()
}
