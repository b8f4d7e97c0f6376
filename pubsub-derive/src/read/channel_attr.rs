//! Reads `#[channel(..)]` and the doc comment: from tokens to typed attributes, each with the tokens it came from.
//!
//! Knows which keys exist, not which values are good: that is [`crate::check`].

use super::doc_comment;
use super::field_path::FieldPath;
use super::item::{self, Item};
use super::value::{Entry, Given, Setting};
use crate::errors::{Errors, quoted_list};
use crate::{name, suggest};
use proc_macro2::TokenStream;
use syn::{
    Attribute, DeriveInput, Expr, ExprLit, Ident, Lit, LitStr, MacroDelimiter, Meta, MetaNameValue, Path,
};

/// Everything the attributes of a type say.
#[derive(Default)]
pub(crate) struct ChannelAttr {
    pub(crate) name: Setting<LitStr>,
    pub(crate) description: String,
    pub(crate) version: Setting<Given<i128>>,
    pub(crate) upcast_from: Setting<Path>,
    pub(crate) max_attempts: Setting<Given<i128>>,
    pub(crate) backoff: Setting<BackoffAttr>,
    pub(crate) max_panics: Setting<Given<i128>>,
    pub(crate) timeout: Setting<Given<String>>,
    pub(crate) retention: Setting<Given<String>>,
    pub(crate) keys: KeysAttr,
    pub(crate) strict: Setting<TokenStream>,
    pub(crate) krate: Setting<Path>,
}

/// What `key`, `ordered` and `dedupe` said.
#[derive(Default)]
pub(crate) struct KeysAttr {
    pub(crate) key: Setting<Given<FieldPath>>,
    /// The word, for messages.
    pub(crate) ordered: Setting<TokenStream>,
    pub(crate) dedupe: Setting<LitStr>,
}

/// `backoff(..)`.
#[derive(Default)]
pub(crate) struct BackoffAttr {
    pub(crate) initial: Setting<Given<String>>,
    pub(crate) factor: Setting<Given<f64>>,
    pub(crate) max: Setting<Given<String>>,
    pub(crate) jitter: Setting<Given<f64>>,
}

/// A key, how it is written, and where its value goes. A new key is a line in a table and a field in its struct.
struct Key<T> {
    name: &'static str,
    example: &'static str,
    read: fn(&mut T, Entry, &mut Errors),
}

const CHANNEL_KEYS: &[Key<ChannelAttr>] = &[
    Key {
        name: "max_attempts",
        example: "max_attempts = 8",
        read: |attr, entry, errors| attr.max_attempts = entry.integer(errors),
    },
    Key {
        name: "backoff",
        example: "backoff(initial = \"1s\", factor = 2.0, max = \"15m\", jitter = 0.2)",
        read: |attr, entry, errors| {
            attr.backoff = entry.list(errors).and_then(|inside| Some(read_backoff(inside, errors)));
        },
    },
    Key {
        name: "max_panics",
        example: "max_panics = 3",
        read: |attr, entry, errors| attr.max_panics = entry.integer(errors),
    },
    Key {
        name: "timeout",
        example: "timeout = \"30s\"",
        read: |attr, entry, errors| attr.timeout = entry.duration(errors),
    },
    Key { name: "strict", example: "strict", read: |attr, entry, errors| attr.strict = entry.flag(errors) },
    Key {
        name: "retention",
        example: "retention = \"7d\"",
        read: |attr, entry, errors| attr.retention = entry.duration(errors),
    },
    Key {
        name: "key",
        example: "key = order_id",
        read: |attr, entry, errors| attr.keys.key = entry.field(errors),
    },
    Key {
        name: "ordered",
        example: "ordered",
        read: |attr, entry, errors| attr.keys.ordered = entry.flag(errors),
    },
    Key {
        name: "dedupe",
        example: "dedupe = \"{order_id}\"",
        read: |attr, entry, errors| attr.keys.dedupe = entry.text(errors),
    },
    Key {
        name: "version",
        example: "version = 2",
        read: |attr, entry, errors| attr.version = entry.integer(errors),
    },
    Key {
        name: "upcast_from",
        example: "upcast_from = EmailV1",
        read: |attr, entry, errors| attr.upcast_from = entry.path(errors),
    },
    Key {
        name: "crate",
        example: "crate = ::pubsub",
        read: |attr, entry, errors| attr.krate = entry.path(errors),
    },
];

const BACKOFF_KEYS: &[Key<BackoffAttr>] = &[
    Key {
        name: "initial",
        example: "initial = \"1s\"",
        read: |attr, entry, errors| attr.initial = entry.duration(errors),
    },
    Key {
        name: "factor",
        example: "factor = 2.0",
        read: |attr, entry, errors| attr.factor = entry.decimal(errors),
    },
    Key {
        name: "max",
        example: "max = \"15m\"",
        read: |attr, entry, errors| attr.max = entry.duration(errors),
    },
    Key {
        name: "jitter",
        example: "jitter = 0.2",
        read: |attr, entry, errors| attr.jitter = entry.decimal(errors),
    },
];

/// Reads the attributes of the type in `input`.
pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> ChannelAttr {
    let of = &input.ident;
    let mut read =
        ChannelAttr { description: doc_comment::description(&input.attrs), ..ChannelAttr::default() };
    let mut ours = channel_attrs(&input.attrs);
    match ours.next() {
        Some(first) => read_attribute(first, of, &mut read, errors),
        None => {
            let line = line_for(of);
            errors.push(
                of,
                format!("missing `#[channel(\"..\")]`: `{of}` has no channel\nadd `{line}` under the derive"),
            );
        }
    }
    for second in ours {
        errors.push(
            second,
            "second `#[channel(..)]`: a type has one channel\nmove the keys into the first `#[channel(..)]`",
        );
    }
    read
}

pub(crate) fn channel_attrs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("channel"))
}

/// Whether the attribute of a type takes this key.
pub(crate) fn is_key(word: &str) -> bool {
    CHANNEL_KEYS.iter().any(|key| key.name == word)
}

/// The attribute to offer for the type `of`.
fn line_for(of: &Ident) -> String {
    format!("#[channel(\"{}\")]", name::for_type(of))
}

/// Reads `#[channel ..]` in whatever form it is written.
fn read_attribute(attribute: &Attribute, of: &Ident, attr: &mut ChannelAttr, errors: &mut Errors) {
    let line = line_for(of);
    match &attribute.meta {
        Meta::List(list) if matches!(list.delimiter, MacroDelimiter::Paren(_)) => {
            read_channel(list.tokens.clone(), of, attr, errors);
            if matches!(attr.name, Setting::Unset) {
                errors.push(
                    attribute.path(),
                    format!(
                        "the channel has no name\nwrite it before the keys: `{}, ..)]`",
                        line.trim_end_matches(")]")
                    ),
                );
            }
        }
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(name), .. }), .. }) => {
            let name = name.token();
            errors.push(attribute, format!("the name stands in parentheses\nwrite `#[channel({name})]`"));
        }
        _ => errors.push(attribute, format!("the channel has no name\nwrite `{line}`")),
    }
}

/// Reads the inside of `#[channel(..)]`: the name, then keys.
fn read_channel(tokens: TokenStream, of: &Ident, attr: &mut ChannelAttr, errors: &mut Errors) {
    let mut items = item::split(tokens, errors).into_iter().peekable();
    // `#[channel(sms)]`: a lone word in first place is a name without quotes, unless it is a key, or nearly one that takes a
    // value.
    let unquoted = items.next_if(|item| {
        let Item::Keyed(word, item::Value::Missing) = item else { return false };
        let is_flag = |key: &str| ["ordered", "strict"].contains(&key);
        let takes_value = CHANNEL_KEYS.iter().map(|key| key.name).filter(|key| !is_flag(key));
        !is_key(&word.to_string()) && suggest::nearest(&word.to_string(), takes_value).is_none()
    });
    if let Some(Item::Keyed(word, _)) = unquoted {
        errors.push(&word, format!("the name of a channel is a string literal\nwrite `\"{word}\"`"));
        attr.name = Setting::Broken;
    } else if let Some(Item::Bare(value)) = items.next_if(|item| matches!(item, Item::Bare(_))) {
        attr.name = read_name(value, of, errors);
    }
    let mut keyed = Vec::new();
    for item in items {
        match item {
            Item::Keyed(key, value) if key == "name" => {
                let name = match value {
                    item::Value::Assigned(value) => value.to_string(),
                    _ => format!("\"{}\"", name::for_type(of)),
                };
                errors.push(&key, format!("the name has no key\nwrite it first: `#[channel({name}, ..)]`"));
                attr.name = Setting::Broken;
            }
            Item::Bare(value) if matches!(attr.name, Setting::Unset) => {
                errors.push(&value, format!("the name comes first\nmove `{value}` before the keys"));
                attr.name = Setting::Broken;
            }
            Item::Bare(value) => errors.push(
                &value,
                format!(
                    "unexpected `{value}`; after the name come keys\nallowed here: {}",
                    list(CHANNEL_KEYS)
                ),
            ),
            Item::Keyed(..) => keyed.push(item),
        }
    }
    read_keys(keyed, CHANNEL_KEYS, attr, errors);
}

/// Reads the first item as the name.
fn read_name(value: TokenStream, of: &Ident, errors: &mut Errors) -> Setting<LitStr> {
    match syn::parse2::<LitStr>(value.clone()) {
        Ok(name) if name.suffix().is_empty() => return Setting::Set(name),
        _ => {}
    }
    let example = name::for_type(of);
    errors.push(
        value,
        format!(
            "the name of a channel is a string literal, because it is checked while your crate compiles\n\
             write it out, such as `\"{example}\"`"
        ),
    );
    Setting::Broken
}

/// Reads the inside of `backoff(..)`.
fn read_backoff(tokens: TokenStream, errors: &mut Errors) -> BackoffAttr {
    let mut attr = BackoffAttr::default();
    let mut keyed = Vec::new();
    for item in item::split(tokens, errors) {
        match item {
            Item::Bare(value) => {
                errors.push(
                    &value,
                    format!(
                        "unexpected `{value}`; `backoff` takes keys\nallowed here: {}",
                        list(BACKOFF_KEYS)
                    ),
                );
            }
            Item::Keyed(..) => keyed.push(item),
        }
    }
    read_keys(keyed, BACKOFF_KEYS, &mut attr, errors);
    attr
}

/// Reads every keyed item by its line in `table`. Reports keys that are unknown or given twice.
fn read_keys<T>(items: Vec<Item>, table: &[Key<T>], attr: &mut T, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for item in items {
        let Item::Keyed(key, value) = item else { continue };
        let Some(known) = table.iter().find(|known| key == known.name) else {
            errors.push(&key, unknown(&key, table));
            continue;
        };
        if seen.contains(&known.name) {
            errors.push(&key, format!("`{key}` is given twice\nkeep one of the two"));
            continue;
        }
        seen.push(known.name);
        (known.read)(attr, Entry { key, value, example: known.example }, errors);
    }
}

/// What to say about a key that is not in `table`: where it belongs, or what is like it.
fn unknown<T>(key: &Ident, table: &[Key<T>]) -> String {
    let word = key.to_string();
    let here = suggest::nearest(&word, table.iter().map(|known| known.name));
    let inside_backoff = BACKOFF_KEYS.iter().any(|known| key == known.name);
    let outside = CHANNEL_KEYS.iter().any(|known| key == known.name);
    let advice = match here {
        _ if inside_backoff => format!("; it belongs inside: `backoff({key} = ..)`"),
        _ if key == "redact" => "; it stands before a field: `#[channel(redact)]`".to_owned(),
        _ if outside => "; it belongs outside of `backoff(..)`".to_owned(),
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    format!("unknown key `{key}`{advice}\nallowed here: {}", list(table))
}

/// The keys of `table`, for a message.
fn list<T>(table: &[Key<T>]) -> String {
    quoted_list(table.iter().map(|key| key.name))
}
