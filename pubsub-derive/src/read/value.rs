//! Reads the value of one key as the type that the key takes.
//!
//! Knows types, not rules: that a number is in its range is for [`crate::check`].

use super::field_path::FieldPath;
use super::item::Value;
use crate::duration;
use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Ident, Lit, LitStr, Path, Token};

/// What the user said about one key.
#[derive(Default)]
pub(crate) enum Setting<T> {
    /// Nothing: the default holds.
    #[default]
    Unset,
    /// Something unusable, already reported. Nothing that depends on it may be reported as well.
    Broken,
    Set(T),
}

impl<T> Setting<T> {
    /// Goes on with what was set; `None` breaks the setting.
    pub(crate) fn and_then<U>(self, next: impl FnOnce(T) -> Option<U>) -> Setting<U> {
        match self {
            Self::Unset => Setting::Unset,
            Self::Broken => Setting::Broken,
            Self::Set(value) => next(value).into(),
        }
    }

    pub(crate) fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Unset | Self::Broken => None,
        }
    }
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Broken, Self::Set)
    }
}

/// A value and the tokens it was read from, for messages.
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) tokens: TokenStream,
}

/// One `key = value` or `key(..)`, with what its message shows as an example.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    pub(crate) value: Value,
    pub(crate) example: &'static str,
}

impl Entry {
    /// `key = 8`.
    pub(crate) fn integer(self, errors: &mut Errors) -> Setting<Given<i128>> {
        self.literal("a whole number", errors, |negative, literal| match literal {
            Lit::Int(int) if matches!(int.suffix(), "" | "u32") => int
                .base10_parse::<i128>()
                .map(|value| if negative { -value } else { value })
                .map_err(|_| None),
            Lit::Str(quoted) => Err(quoted.value().parse::<u32>().ok().map(|value| value.to_string())),
            _ => Err(None),
        })
    }

    /// `key = 2.0` or `key = 2`.
    pub(crate) fn decimal(self, errors: &mut Errors) -> Setting<Given<f64>> {
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

    /// `key = "30s"`, not yet read as a duration.
    pub(crate) fn duration(self, errors: &mut Errors) -> Setting<Given<String>> {
        self.literal("a duration in quotes", errors, |negative, literal| {
            let unquoted = match literal {
                Lit::Str(text) if !negative && text.suffix().is_empty() => return Ok(text.value()),
                Lit::Int(int) => int.to_string(),
                Lit::Float(float) => float.to_string(),
                _ => return Err(None),
            };
            // `30` and `30s` without quotes are both literals to Rust.
            let spelled = [unquoted.clone(), format!("{unquoted}s")];
            Err(spelled
                .into_iter()
                .find(|text| duration::parse(text).is_ok())
                .map(|text| format!("\"{text}\"")))
        })
    }

    /// `key = ::a::path`.
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
        // Good enough to find the crate, so that this one mistake is the only error.
        Setting::Set(path)
    }

    /// `key`, without a value; what is set is the word itself.
    pub(crate) fn flag(self, errors: &mut Errors) -> Setting<TokenStream> {
        match self.value {
            Value::Missing => Setting::Set(self.key.into_token_stream()),
            _ => self.refuse("no value", None, errors),
        }
    }

    /// `key = "text"`.
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

    /// `key = a_field` or `key = a.path`.
    pub(crate) fn field(self, errors: &mut Errors) -> Setting<Given<FieldPath>> {
        let Value::Assigned(tokens) = &self.value else { return self.refuse("a field", None, errors) };
        if let Some(value) = FieldPath::from_tokens(tokens) {
            return Setting::Set(Given { value, tokens: tokens.clone() });
        }
        let quoted = syn::parse2::<LitStr>(tokens.clone()).ok().map(|quoted| quoted.value());
        match quoted.filter(|text| text.parse().is_ok_and(|tokens| FieldPath::from_tokens(&tokens).is_some()))
        {
            Some(text) => self.refuse("a field, without quotes", Some(&text), errors),
            None => self.refuse("a field, or a path to one", None, errors),
        }
    }

    /// `key(..)`.
    pub(crate) fn list(self, errors: &mut Errors) -> Setting<TokenStream> {
        match self.value {
            Value::List(inside, _) => Setting::Set(inside),
            _ => self.refuse("its own keys in parentheses", None, errors),
        }
    }

    /// Reads a literal with an optional minus sign. `read` fails with what the user meant, if that can be told.
    fn literal<T>(
        self,
        takes: &str,
        errors: &mut Errors,
        read: impl FnOnce(bool, Lit) -> Result<T, Option<String>>,
    ) -> Setting<Given<T>> {
        let Value::Assigned(tokens) = &self.value else { return self.refuse(takes, None, errors) };
        let tokens = tokens.clone();
        let parser = |input: ParseStream<'_>| {
            let negative = input.parse::<Option<Token![-]>>()?.is_some();
            Ok((negative, input.parse::<Lit>()?))
        };
        let meant = match parser.parse2(tokens.clone()) {
            Ok((negative, literal)) => match read(negative, literal) {
                Ok(value) => return Setting::Set(Given { value, tokens }),
                Err(meant) => meant,
            },
            Err(_) => None,
        };
        self.refuse(takes, meant.as_deref(), errors)
    }

    /// Reports that the key takes something else, and what to write instead.
    fn refuse<T>(&self, takes: &str, meant: Option<&str>, errors: &mut Errors) -> Setting<T> {
        let Self { key, value, example } = self;
        let write = meant.map_or_else(|| (*example).to_owned(), |meant| format!("{key} = {meant}"));
        match value {
            Value::Missing => errors.push(key, format!("`{key}` has no value\nwrite `{write}`")),
            Value::Assigned(tokens) => errors.push(tokens, format!("`{key}` takes {takes}\nwrite `{write}`")),
            Value::List(_, group) => errors.push(group, format!("`{key}` takes {takes}\nwrite `{write}`")),
        }
        Setting::Broken
    }
}
