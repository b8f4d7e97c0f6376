//! Reads what serde is told about a type: the names that stand in the JSON, and what else changes what is written or read.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, LitStr, Meta};

/// Keys that change neither what is written nor what is read.
const INVISIBLE: [&str; 4] = ["bound", "crate", "expecting", "borrow"];

/// Keys whose value is a function, or a text for people: that they are there is all that counts.
const WITHOUT_VALUE: [&str; 2] = ["default", "skip_serializing_if"];

/// What `#[serde(..)]` says about a type, a field or a variant.
#[derive(Debug, Default)]
pub(crate) struct SerdeAttrs {
    rename: Both,
    pub(crate) rename_all: Rules,
    pub(crate) rename_all_fields: Rules,
    /// What else counts, without spaces, sorted.
    pub(crate) attributes: Vec<String>,
}

/// A value for writing, and one for reading.
#[derive(Debug, Default, Clone, PartialEq)]
struct Both {
    serialize: Option<String>,
    deserialize: Option<String>,
}

/// `rename_all = ".."`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Rules(Both);

impl SerdeAttrs {
    pub(crate) fn read(attrs: &[Attribute]) -> Self {
        let mut wire = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
            let Meta::List(list) = &attr.meta else { continue };
            for item in split(&list.tokens) {
                wire.take(&item);
            }
        }
        wire.attributes.sort_unstable();
        wire.attributes.dedup();
        wire
    }

    fn take(&mut self, item: &[TokenTree]) {
        let key = item.first().map(ToString::to_string).unwrap_or_default();
        match key.as_str() {
            "rename" => self.rename = Both::read(item),
            "rename_all" => self.rename_all = Rules(Both::read(item)),
            "rename_all_fields" => self.rename_all_fields = Rules(Both::read(item)),
            "" => {}
            key if INVISIBLE.contains(&key) => {}
            key if WITHOUT_VALUE.contains(&key) => self.attributes.push(key.to_owned()),
            _ => self.attributes.push(written(item.iter().cloned().collect())),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute == key)
    }

    /// Whether it is neither written nor read.
    pub(crate) fn is_skipped(&self) -> bool {
        self.has("skip") || self.has("skip_serializing") && self.has("skip_deserializing")
    }

    /// The word that keeps a field from being written.
    pub(crate) fn why_not_written(&self) -> Option<&'static str> {
        ["skip", "skip_serializing"].into_iter().find(|word| self.has(word))
    }

    /// Whether `rename` gives a field this name.
    pub(crate) fn is_renamed_to(&self, name: &str) -> bool {
        let Both { serialize, deserialize } = &self.rename;
        [serialize, deserialize].into_iter().flatten().any(|renamed| renamed == name)
    }

    /// The name in the JSON; both of them, if it is read by another one than it is written.
    pub(crate) fn name(&self, rust: &str, rule: &Rules, apply: fn(&str, &str) -> String) -> String {
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

impl Both {
    /// `key = ".."`, or `key(serialize = "..", deserialize = "..")`.
    fn read(item: &[TokenTree]) -> Self {
        match item {
            [_, TokenTree::Group(group)] => {
                let mut both = Self::default();
                for inner in split(&group.stream()) {
                    match inner.first().map(ToString::to_string).as_deref() {
                        Some("serialize") => both.serialize = text(&inner),
                        Some("deserialize") => both.deserialize = text(&inner),
                        _ => {}
                    }
                }
                both
            }
            _ => Self { serialize: text(item), deserialize: text(item) },
        }
    }
}

/// The string at the end of `key = ".."`.
fn text(item: &[TokenTree]) -> Option<String> {
    let last = item.last()?.clone();
    syn::parse2::<LitStr>(last.into()).ok().map(|literal| literal.value())
}

/// The items between commas.
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

/// Tokens as text, with spaces between words only: the same however they were written.
pub(crate) fn written(tokens: TokenStream) -> String {
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
                (format!("{open}{}{close}", written(group.stream())), false)
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

/// serde's rules for fields.
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

/// serde's rules for variants.
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

/// A variant's name in snake case, as serde has it: every capital starts a word.
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

/// `word` with its first letter changed.
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
    fn names_are_those_that_serde_writes() {
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
    fn a_name_of_its_own_goes_before_the_rule_and_both_directions_count() {
        let rules = read(&quote!(#[serde(rename_all = "camelCase")])).rename_all;
        let name = |attrs: &TokenStream| read(attrs).name("a_b", &rules, field);
        assert_eq!(name(&quote!()), "aB");
        assert_eq!(name(&quote!(#[serde(rename = "x")])), "x");
        assert_eq!(name(&quote!(#[serde(rename(serialize = "x"))])), "aB|x");
        assert_eq!(name(&quote!(#[serde(rename(serialize = "x", deserialize = "y"))])), "y|x");
    }

    #[test]
    fn attributes_are_sorted_and_what_changes_nothing_is_left_out() {
        let wire = read(&quote! {
            #[serde(tag = "t", rename = "x", bound = "T: X")]
            #[serde(default = "path::to")]
            #[serde(with = "a::b", skip_serializing_if = "f", crate = "serde")]
        });
        assert_eq!(wire.attributes, ["default", "skip_serializing_if", "tag=\"t\"", "with=\"a::b\""]);
    }
}
