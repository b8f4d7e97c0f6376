//! Reads `#[channel(..)]` and the doc comment of a type.

use super::doc_comment;
use super::field_path::FieldPath;
use super::item::{self, Item};
use super::value::{Entry, Setting, Spanned};
use crate::errors::{Errors, quoted_list};
use crate::{name, suggest};
use proc_macro2::TokenStream;
use syn::{
    Attribute, DeriveInput, Expr, ExprLit, Ident, Lit, LitStr, MacroDelimiter, Meta, MetaNameValue, Path,
};

/// The attributes of a type.
#[derive(Default)]
pub(crate) struct ChannelAttr {
    pub(crate) name: Setting<LitStr>,
    pub(crate) description: String,
    pub(crate) version: Setting<Spanned<i128>>,
    pub(crate) upcast_from: Setting<Path>,
    pub(crate) max_attempts: Setting<Spanned<i128>>,
    pub(crate) backoff: Setting<BackoffAttr>,
    pub(crate) max_panics: Setting<Spanned<i128>>,
    pub(crate) max_crashes: Setting<Spanned<i128>>,
    pub(crate) timeout: Setting<Spanned<String>>,
    pub(crate) retention: Setting<Spanned<String>>,
    pub(crate) keys: KeysAttr,
    pub(crate) strict: Setting<TokenStream>,
    pub(crate) krate: Setting<Path>,
}

/// `key`, `ordered` and `dedupe`.
#[derive(Default)]
pub(crate) struct KeysAttr {
    pub(crate) key: Setting<Spanned<FieldPath>>,
    /// The word itself, for messages.
    pub(crate) ordered: Setting<TokenStream>,
    pub(crate) dedupe: Setting<LitStr>,
}

/// `backoff(..)`.
#[derive(Default)]
pub(crate) struct BackoffAttr {
    pub(crate) initial: Setting<Spanned<String>>,
    pub(crate) factor: Setting<Spanned<f64>>,
    pub(crate) max: Setting<Spanned<String>>,
    pub(crate) jitter: Setting<Spanned<f64>>,
}

/// A key, an example of its use, and the function that stores its value in `T`. A new key needs an entry in a list and a
/// field in its struct.
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
        name: "max_crashes",
        example: "max_crashes = 3",
        read: |attr, entry, errors| attr.max_crashes = entry.integer(errors),
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
            let line = example_for(of);
            errors.push(
                of,
                format!("missing `#[channel(\"..\")]`, which names the channel of `{of}`\nadd `{line}` below the derive"),
            );
        }
    }
    for second in ours {
        errors.push(
            second,
            "duplicate `#[channel(..)]`: a type has one channel\nmove the keys into the first `#[channel(..)]`",
        );
    }
    read
}

pub(crate) fn channel_attrs(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("channel"))
}

/// Whether `#[channel(..)]` on a type takes this key.
pub(crate) fn is_key(word: &str) -> bool {
    CHANNEL_KEYS.iter().any(|key| key.name == word)
}

/// Returns an attribute that fits the type `of`.
fn example_for(of: &Ident) -> String {
    format!("#[channel(\"{}\")]", name::for_type(of))
}

/// Reads `#[channel ..]` in any form.
fn read_attribute(attribute: &Attribute, of: &Ident, attr: &mut ChannelAttr, errors: &mut Errors) {
    let line = example_for(of);
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
            errors.push(attribute, format!("the name belongs in parentheses\nwrite `#[channel({name})]`"));
        }
        _ => errors.push(attribute, format!("the channel has no name\nwrite `{line}`")),
    }
}

/// Reads the contents of `#[channel(..)]`: the name, then keys.
fn read_channel(tokens: TokenStream, of: &Ident, attr: &mut ChannelAttr, errors: &mut Errors) {
    let mut items = item::split(tokens, errors).into_iter().peekable();
    // In `#[channel(sms)]`, the word is a name without quotes. It is not if it is a key, or close to one that takes a value.
    let unquoted = items.next_if(|item| {
        let Item::Keyed(word, item::Value::Missing) = item else { return false };
        let is_flag = |key: &str| ["ordered", "strict"].contains(&key);
        let takes_value = CHANNEL_KEYS.iter().map(|key| key.name).filter(|key| !is_flag(key));
        !is_key(&word.to_string()) && suggest::nearest(&word.to_string(), takes_value).is_none()
    });
    if let Some(Item::Keyed(word, _)) = unquoted {
        errors.push(&word, format!("the name of a channel is a string literal\nwrite `\"{word}\"`"));
        attr.name = Setting::Invalid;
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
                errors.push(
                    &key,
                    format!("the name is written without a key\nwrite it first: `#[channel({name}, ..)]`"),
                );
                attr.name = Setting::Invalid;
            }
            Item::Bare(value) if matches!(attr.name, Setting::Unset) => {
                errors.push(&value, format!("the name comes first\nmove `{value}` before the keys"));
                attr.name = Setting::Invalid;
            }
            Item::Bare(value) => errors.push(
                &value,
                format!(
                    "unexpected `{value}`: only keys may follow the name\nallowed here: {}",
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
            "the name of a channel is a string literal, because it is checked at compile time\n\
             write it out, such as `\"{example}\"`"
        ),
    );
    Setting::Invalid
}

/// Reads the contents of `backoff(..)`.
fn read_backoff(tokens: TokenStream, errors: &mut Errors) -> BackoffAttr {
    let mut attr = BackoffAttr::default();
    let mut keyed = Vec::new();
    for item in item::split(tokens, errors) {
        match item {
            Item::Bare(value) => {
                errors.push(
                    &value,
                    format!(
                        "unexpected `{value}`: `backoff` takes only keys\nallowed here: {}",
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

/// Reads each item with the key of its name, and reports unknown and duplicate keys.
fn read_keys<T>(items: Vec<Item>, keys: &[Key<T>], attr: &mut T, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for item in items {
        let Item::Keyed(word, value) = item else { continue };
        let Some(key) = keys.iter().find(|key| word == key.name) else {
            errors.push(&word, unknown(&word, keys));
            continue;
        };
        if seen.contains(&key.name) {
            errors.push(&word, format!("duplicate key `{word}`\nremove one of the two"));
            continue;
        }
        seen.push(key.name);
        (key.read)(attr, Entry { key: word, value, example: key.example }, errors);
    }
}

/// Returns the message for an unknown key: where it belongs, or the key that is most like it.
fn unknown<T>(word: &Ident, keys: &[Key<T>]) -> String {
    let nearest = suggest::nearest(&word.to_string(), keys.iter().map(|key| key.name));
    let inside_backoff = BACKOFF_KEYS.iter().any(|key| word == key.name);
    let outside = CHANNEL_KEYS.iter().any(|key| word == key.name);
    let advice = match nearest {
        _ if inside_backoff => format!("; write it inside `backoff(..)`: `backoff({word} = ..)`"),
        _ if word == "redact" => "; write it on a field: `#[channel(redact)]`".to_owned(),
        _ if outside => "; write it outside of `backoff(..)`".to_owned(),
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    format!("unknown key `{word}`{advice}\nallowed here: {}", list(keys))
}

/// Returns the names of keys, for a message.
fn list<T>(keys: &[Key<T>]) -> String {
    quoted_list(keys.iter().map(|key| key.name))
}
