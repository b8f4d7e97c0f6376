//! Reads the value of one key as the type that the key takes.

use super::duration;
use super::field_path::FieldPath;
use super::item::Value;
use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Ident, Lit, LitStr, Path, Token};

/// The value of one key.
#[derive(Default)]
pub(crate) enum Setting<T> {
    /// The key is not there, so the default applies.
    #[default]
    Unset,
    /// The value is invalid. That is reported already, so nothing that depends on the value may be reported as well.
    Invalid,
    Set(T),
}

impl<T> Setting<T> {
    /// Maps the value, if there is one. `None` makes the setting invalid.
    pub(crate) fn and_then<U>(self, next: impl FnOnce(T) -> Option<U>) -> Setting<U> {
        match self {
            Self::Unset => Setting::Unset,
            Self::Invalid => Setting::Invalid,
            Self::Set(value) => next(value).into(),
        }
    }

    pub(crate) fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unset | Self::Invalid => None,
        }
    }
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Invalid, Self::Set)
    }
}

/// A value and its tokens, at which messages point.
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) tokens: TokenStream,
}

/// One `key = value` or `key(..)`, with an example for messages.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    pub(crate) value: Value,
    pub(crate) example: &'static str,
}

impl Entry {
    /// Reads `key = 8`.
    pub(crate) fn integer(self, errors: &mut Errors) -> Setting<Spanned<i128>> {
        self.literal("a whole number", errors, |negative, literal| match literal {
            Lit::Int(int) if matches!(int.suffix(), "" | "u32") => int
                .base10_parse::<i128>()
                .map(|value| if negative { -value } else { value })
                .map_err(|_| None),
            Lit::Str(quoted) => Err(quoted.value().parse::<u32>().ok().map(|value| value.to_string())),
            _ => Err(None),
        })
    }

    /// Reads `key = 2.0` or `key = 2`.
    pub(crate) fn decimal(self, errors: &mut Errors) -> Setting<Spanned<f64>> {
        let sign = |negative: bool, value: f64| if negative { -value } else { value };
        self.literal("a number", errors, |negative, literal| match literal {
            Lit::Float(float) if matches!(float.suffix(), "" | "f64") => {
                float.base10_parse().map(|value| sign(negative, value)).map_err(|_| None)
            }
            Lit::Int(int) if matches!(int.suffix(), "" | "f64") => {
                int.base10_digits().parse().map(|value| sign(negative, value)).map_err(|_| None)
            }
            Lit::Str(quoted) => Err(quoted
                .value()
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite())
                .map(|value| format!("{value:?}"))),
            _ => Err(None),
        })
    }

    /// Reads `key = "30s"`, whose text is parsed later.
    pub(crate) fn duration(self, errors: &mut Errors) -> Setting<Spanned<String>> {
        self.literal("a duration in quotes", errors, |negative, literal| {
            let unquoted = match literal {
                Lit::Str(text) if !negative && text.suffix().is_empty() => return Ok(text.value()),
                Lit::Int(int) => int.to_string(),
                Lit::Float(float) => float.to_string(),
                _ => return Err(None),
            };
            // Without quotes, `30` and `30s` are both literals in Rust.
            let spelled = [unquoted.clone(), format!("{unquoted}s")];
            Err(spelled
                .into_iter()
                .find(|text| duration::parse(text).is_ok())
                .map(|text| format!("\"{text}\"")))
        })
    }

    /// Reads `key = ::a::path`.
    pub(crate) fn path(self, errors: &mut Errors) -> Setting<Path> {
        let tokens = match self.value {
            Value::Assigned(tokens) => tokens,
            other => return Self { value: other, ..self }.refuse("a path", None, errors),
        };
        if let Ok(path) = Path::parse_mod_style.parse2(tokens.clone()) {
            return Setting::Set(path);
        }
        let quoted = syn::parse2::<syn::LitStr>(tokens.clone())
            .ok()
            .and_then(|quoted| Some((quoted.value(), quoted.parse_with(Path::parse_mod_style).ok()?)));
        let entry = Self { value: Value::Assigned(tokens), ..self };
        let Some((text, path)) = quoted else { return entry.refuse("a path", None, errors) };
        drop(entry.refuse::<Path>("a path, without quotes", Some(&text), errors));
        // The path is usable, so this mistake is the only error.
        Setting::Set(path)
    }

    /// Reads `key` without a value, and sets the word itself.
    pub(crate) fn flag(self, errors: &mut Errors) -> Setting<TokenStream> {
        match self.value {
            Value::Missing => Setting::Set(self.key.into_token_stream()),
            _ => self.refuse("no value", None, errors),
        }
    }

    /// Reads `key = "text"`.
    pub(crate) fn text(self, errors: &mut Errors) -> Setting<LitStr> {
        let takes = "text in quotes, with fields in braces";
        let Value::Assigned(tokens) = &self.value else { return self.refuse(takes, None, errors) };
        match syn::parse2::<LitStr>(tokens.clone()) {
            Ok(text) if text.suffix().is_empty() => Setting::Set(text),
            _ => {
                let is_field = FieldPath::from_tokens(tokens).is_some();
                let spelled = tokens.to_string().replace(' ', "");
                let meant = is_field.then(|| format!("\"{{{spelled}}}\""));
                self.refuse(takes, meant.as_deref(), errors)
            }
        }
    }

    /// Reads `key = a_field` or `key = a.path`.
    pub(crate) fn field(self, errors: &mut Errors) -> Setting<Spanned<FieldPath>> {
        let Value::Assigned(tokens) = &self.value else { return self.refuse("a field", None, errors) };
        if let Some(value) = FieldPath::from_tokens(tokens) {
            return Setting::Set(Spanned { value, tokens: tokens.clone() });
        }
        let quoted = syn::parse2::<LitStr>(tokens.clone()).ok().map(|quoted| quoted.value());
        match quoted.filter(|text| text.parse().is_ok_and(|tokens| FieldPath::from_tokens(&tokens).is_some()))
        {
            Some(text) => self.refuse("a field, without quotes", Some(&text), errors),
            None => self.refuse("a field, or a path to one", None, errors),
        }
    }

    /// Reads `key(..)`.
    pub(crate) fn list(self, errors: &mut Errors) -> Setting<TokenStream> {
        match self.value {
            Value::List(inside, _) => Setting::Set(inside),
            _ => self.refuse("keys in parentheses", None, errors),
        }
    }

    /// Reads a literal with an optional minus sign. `read` fails with the value that the user probably meant.
    fn literal<T>(
        self,
        takes: &str,
        errors: &mut Errors,
        read: impl FnOnce(bool, Lit) -> Result<T, Option<String>>,
    ) -> Setting<Spanned<T>> {
        let Value::Assigned(tokens) = &self.value else { return self.refuse(takes, None, errors) };
        let tokens = tokens.clone();
        let parser = |input: ParseStream<'_>| {
            let negative = input.parse::<Option<Token![-]>>()?.is_some();
            Ok((negative, input.parse::<Lit>()?))
        };
        let meant = match parser.parse2(tokens.clone()) {
            Ok((negative, literal)) => match read(negative, literal) {
                Ok(value) => return Setting::Set(Spanned { value, tokens }),
                Err(meant) => meant,
            },
            Err(_) => None,
        };
        self.refuse(takes, meant.as_deref(), errors)
    }

    /// Reports that the value has the wrong type, and shows a right one.
    fn refuse<T>(&self, takes: &str, meant: Option<&str>, errors: &mut Errors) -> Setting<T> {
        let Self { key, value, example } = self;
        let write = meant.map_or_else(|| (*example).to_owned(), |meant| format!("{key} = {meant}"));
        match value {
            Value::Missing => errors.push(key, format!("`{key}` needs a value\nwrite `{write}`")),
            Value::Assigned(tokens) => errors.push(tokens, format!("`{key}` takes {takes}\nwrite `{write}`")),
            Value::List(_, group) => errors.push(group, format!("`{key}` takes {takes}\nwrite `{write}`")),
        }
        Setting::Invalid
    }
}
