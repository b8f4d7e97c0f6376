//! Reads the serde attributes of a type, a field or a variant: the names in the JSON, and everything else that changes what is
//! written or read.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, LitStr, Meta};

/// Keys that change neither what is written nor what is read.
const WITHOUT_EFFECT: [&str; 4] = ["bound", "crate", "expecting", "borrow"];

/// Keys whose value is a function, so that only their presence counts.
const WITHOUT_VALUE: [&str; 2] = ["default", "skip_serializing_if"];

/// The contents of `#[serde(..)]`.
#[derive(Debug, Default)]
pub(crate) struct SerdeAttrs {
    rename: PerDirection,
    pub(crate) rename_all: RenameRule,
    pub(crate) rename_all_fields: RenameRule,
    /// All other attributes that have an effect, without spaces, sorted.
    pub(crate) attributes: Vec<String>,
}

/// A value for writing, and one for reading.
#[derive(Debug, Default, Clone, PartialEq)]
struct PerDirection {
    serialize: Option<String>,
    deserialize: Option<String>,
}

/// `rename_all = ".."`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct RenameRule(PerDirection);

impl SerdeAttrs {
    pub(crate) fn read(attrs: &[Attribute]) -> Self {
        let mut serde = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
            let Meta::List(list) = &attr.meta else { continue };
            for item in split(&list.tokens) {
                serde.add(&item);
            }
        }
        serde.attributes.sort_unstable();
        serde.attributes.dedup();
        serde
    }

    fn add(&mut self, item: &[TokenTree]) {
        let key = item.first().map(ToString::to_string).unwrap_or_default();
        match key.as_str() {
            "rename" => self.rename = PerDirection::read(item),
            "rename_all" => self.rename_all = RenameRule(PerDirection::read(item)),
            "rename_all_fields" => self.rename_all_fields = RenameRule(PerDirection::read(item)),
            "" => {}
            key if WITHOUT_EFFECT.contains(&key) => {}
            key if WITHOUT_VALUE.contains(&key) => self.attributes.push(key.to_owned()),
            _ => self.attributes.push(spelled(item.iter().cloned().collect())),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute == key)
    }

    /// Whether the field or variant is neither written nor read.
    pub(crate) fn is_skipped(&self) -> bool {
        self.has("skip") || self.has("skip_serializing") && self.has("skip_deserializing")
    }

    /// The word that keeps a field from being written.
    pub(crate) fn why_not_written(&self) -> Option<&'static str> {
        ["skip", "skip_serializing"].into_iter().find(|word| self.has(word))
    }

    /// Whether `rename` gives a field this name.
    pub(crate) fn is_renamed_to(&self, name: &str) -> bool {
        let PerDirection { serialize, deserialize } = &self.rename;
        [serialize, deserialize].into_iter().flatten().any(|renamed| renamed == name)
    }

    /// Returns the name in the JSON, or both names, if it is read under another name than it is written.
    pub(crate) fn name(&self, rust: &str, rule: &RenameRule, apply: fn(&str, &str) -> String) -> String {
        let one = |renamed: &Option<String>, rule: &Option<String>| match (renamed, rule) {
            (Some(name), _) => name.clone(),
            (None, Some(rule)) => apply(rule, rust),
            (None, None) => rust.to_owned(),
        };
        let read = one(&self.rename.deserialize, &rule.0.deserialize);
        let written = one(&self.rename.serialize, &rule.0.serialize);
        if read == written { read } else { format!("{read}|{written}") }
    }
}

impl PerDirection {
    /// Reads `key = ".."`, or `key(serialize = "..", deserialize = "..")`.
    fn read(item: &[TokenTree]) -> Self {
        match item {
            [_, TokenTree::Group(group)] => {
                let mut values = Self::default();
                for inner in split(&group.stream()) {
                    match inner.first().map(ToString::to_string).as_deref() {
                        Some("serialize") => values.serialize = text(&inner),
                        Some("deserialize") => values.deserialize = text(&inner),
                        _ => {}
                    }
                }
                values
            }
            _ => Self { serialize: text(item), deserialize: text(item) },
        }
    }
}

/// Returns the string at the end of `key = ".."`.
fn text(item: &[TokenTree]) -> Option<String> {
    let last = item.last()?.clone();
    syn::parse2::<LitStr>(last.into()).ok().map(|literal| literal.value())
}

/// Splits tokens at commas.
fn split(tokens: &TokenStream) -> Vec<Vec<TokenTree>> {
    let mut items = vec![Vec::new()];
    for token in tokens.clone() {
        match (&token, items.last_mut()) {
            (TokenTree::Punct(comma), _) if comma.as_char() == ',' => items.push(Vec::new()),
            (_, Some(item)) => item.push(token),
            (_, None) => {}
        }
    }
    items
}

/// Returns tokens as text, with spaces between words only, however the source spaces them.
pub(crate) fn spelled(tokens: TokenStream) -> String {
    let mut text = String::new();
    let mut after_word = false;
    for token in tokens {
        let (piece, is_word) = match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                (format!("{open}{}{close}", spelled(group.stream())), false)
            }
            TokenTree::Punct(punct) => (punct.as_char().to_string(), false),
            word => (word.to_string(), true),
        };
        if after_word && is_word {
            text.push(' ');
        }
        text.push_str(&piece);
        after_word = is_word;
    }
    text
}

/// Applies serde's `rename_all` rule to a field's name.
pub(crate) fn field(rule: &str, name: &str) -> String {
    match rule {
        "PascalCase" => capitalized(name),
        "camelCase" => uncapitalized(&capitalized(name)),
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_uppercase(),
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

/// Applies serde's `rename_all` rule to a variant's name.
pub(crate) fn variant(rule: &str, name: &str) -> String {
    match rule {
        "lowercase" => name.to_lowercase(),
        "UPPERCASE" => name.to_uppercase(),
        "camelCase" => uncapitalized(name),
        "snake_case" => words(name),
        "SCREAMING_SNAKE_CASE" => words(name).to_uppercase(),
        "kebab-case" => words(name).replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => words(name).to_uppercase().replace('_', "-"),
        _ => name.to_owned(),
    }
}

/// Returns a variant's name in snake case, as serde defines it: every capital letter starts a word.
fn words(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn capitalized(name: &str) -> String {
    name.split('_').map(|word| first(word, |letter| letter.to_uppercase().collect())).collect()
}

fn uncapitalized(name: &str) -> String {
    first(name, |letter| letter.to_lowercase().collect())
}

/// Returns `word` with its first letter changed.
fn first(word: &str, change: fn(char) -> String) -> String {
    let mut letters = word.chars();
    letters.next().map(|letter| change(letter) + letters.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;
    use syn::DeriveInput;

    fn read(attrs: &TokenStream) -> SerdeAttrs {
        let input: DeriveInput = syn::parse2(quote!(#attrs struct S;)).unwrap();
        SerdeAttrs::read(&input.attrs)
    }

    #[test]
    fn names_are_those_that_serde_uses() {
        let fields = [
            ("lowercase", "one_two"),
            ("UPPERCASE", "ONE_TWO"),
            ("PascalCase", "OneTwo"),
            ("camelCase", "oneTwo"),
            ("snake_case", "one_two"),
            ("SCREAMING_SNAKE_CASE", "ONE_TWO"),
            ("kebab-case", "one-two"),
            ("SCREAMING-KEBAB-CASE", "ONE-TWO"),
        ];
        for (rule, name) in fields {
            assert_eq!(field(rule, "one_two"), name, "{rule}");
        }
        let variants = [
            ("lowercase", "onetwo"),
            ("UPPERCASE", "ONETWO"),
            ("PascalCase", "OneTwo"),
            ("camelCase", "oneTwo"),
            ("snake_case", "one_two"),
            ("SCREAMING_SNAKE_CASE", "ONE_TWO"),
            ("kebab-case", "one-two"),
            ("SCREAMING-KEBAB-CASE", "ONE-TWO"),
        ];
        for (rule, name) in variants {
            assert_eq!(variant(rule, "OneTwo"), name, "{rule}");
        }
    }

    #[test]
    fn rename_wins_over_rename_all_and_both_directions_count() {
        let rules = read(&quote!(#[serde(rename_all = "camelCase")])).rename_all;
        let name = |attrs: &TokenStream| read(attrs).name("a_b", &rules, field);
        assert_eq!(name(&quote!()), "aB");
        assert_eq!(name(&quote!(#[serde(rename = "x")])), "x");
        assert_eq!(name(&quote!(#[serde(rename(serialize = "x"))])), "aB|x");
        assert_eq!(name(&quote!(#[serde(rename(serialize = "x", deserialize = "y"))])), "y|x");
    }

    #[test]
    fn attributes_are_sorted_without_those_that_have_no_effect() {
        let serde = read(&quote! {
            #[serde(tag = "t", rename = "x", bound = "T: X")]
            #[serde(default = "path::to")]
            #[serde(with = "a::b", skip_serializing_if = "f", crate = "serde")]
        });
        assert_eq!(serde.attributes, ["default", "skip_serializing_if", "tag=\"t\"", "with=\"a::b\""]);
    }
}
