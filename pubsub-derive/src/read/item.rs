//! Splits the contents of an attribute into items: `"sms"`, `key = value`, `key(..)`.
//!
//! It works on tokens and without a grammar, so that a mistake in one item does not hide those in the next.

use crate::errors::Errors;
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::Ident;

/// One item of an attribute.
pub(crate) enum Item {
    /// A value without a key.
    Bare(TokenStream),
    Keyed(Ident, Value),
}

/// The part of an item after its key.
pub(crate) enum Value {
    /// Nothing: `key`.
    Missing,
    /// `key = ..`, never empty.
    Assigned(TokenStream),
    /// `key(..)`: the tokens in the parentheses, and the whole group for messages.
    List(TokenStream, TokenTree),
}

/// Splits `tokens` into items, and reports wrong separators.
pub(crate) fn split(tokens: TokenStream, errors: &mut Errors) -> Vec<Item> {
    let mut cursor = Cursor { tokens: flatten(tokens), next: 0 };
    let mut items = Vec::new();
    while let Some(token) = cursor.take() {
        if is_punct(&token, ',') {
            errors.push(&token, "unexpected `,`\nremove it");
            continue;
        }
        items.push(match token {
            TokenTree::Ident(key) => keyed(key, &mut cursor, errors),
            TokenTree::Literal(_) => Item::Bare(cursor.value(token.into())),
            other => Item::Bare(cursor.until_comma(other.into())),
        });
        match cursor.peek() {
            Some(token) if is_punct(token, ',') => drop(cursor.take()),
            Some(token) => errors.push(token, format!("missing `,` before `{token}`")),
            None => {}
        }
    }
    items
}

/// Reads the item that starts with `key`.
fn keyed(key: Ident, cursor: &mut Cursor, errors: &mut Errors) -> Item {
    match cursor.peek() {
        None => Item::Keyed(key, Value::Missing),
        Some(token) if is_punct(token, ',') => Item::Keyed(key, Value::Missing),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            let (inside, group) = (group.stream(), TokenTree::Group(group.clone()));
            drop(cursor.take());
            Item::Keyed(key, Value::List(inside, group))
        }
        Some(token) if is_punct(token, '=') => {
            drop(cursor.take());
            Item::Keyed(key, assigned(cursor))
        }
        Some(token @ TokenTree::Literal(value)) => {
            errors.push(token, format!("missing `=` before `{value}`\nwrite `{key} = {value}`"));
            Item::Keyed(key, assigned(cursor))
        }
        Some(token @ TokenTree::Punct(colon))
            if colon.as_char() == ':' && colon.spacing() == Spacing::Alone =>
        {
            errors.push(token, format!("expected `=`, found `:`\nwrite `{key} = ..`"));
            drop(cursor.take());
            Item::Keyed(key, assigned(cursor))
        }
        // The caller reports the missing comma, and the next item starts here.
        Some(TokenTree::Ident(_)) => Item::Keyed(key, Value::Missing),
        Some(_) => Item::Bare(cursor.until_comma(TokenTree::from(key).into())),
    }
}

/// Reads the value after a `=`.
fn assigned(cursor: &mut Cursor) -> Value {
    let sign = cursor.peek().filter(|token| is_punct(token, '-')).cloned();
    if sign.is_some() {
        drop(cursor.take());
    }
    let mut value: TokenStream = sign.into_iter().collect();
    if let Some(TokenTree::Literal(_)) = cursor.peek() {
        value.extend(cursor.take());
        value = cursor.value(value);
    } else {
        value = cursor.until_comma(value);
    }
    if value.is_empty() { Value::Missing } else { Value::Assigned(value) }
}

/// The tokens that are left.
struct Cursor {
    tokens: Vec<TokenTree>,
    next: usize,
}

impl Cursor {
    fn peek(&self) -> Option<&TokenTree> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<TokenTree> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    /// Returns `literal` and the operators that make it a longer expression. Before a word or another literal, a comma is
    /// missing.
    fn value(&mut self, literal: TokenStream) -> TokenStream {
        match self.peek() {
            Some(TokenTree::Punct(_)) => self.until_comma(literal),
            _ => literal,
        }
    }

    /// Returns `start` and everything before the next comma.
    fn until_comma(&mut self, start: TokenStream) -> TokenStream {
        let mut taken = start;
        while self.peek().is_some_and(|token| !is_punct(token, ',')) {
            taken.extend(self.take());
        }
        taken
    }
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == punct)
}

/// Removes the invisible groups that `macro_rules!` puts around a `$value:literal`.
fn flatten(tokens: TokenStream) -> Vec<TokenTree> {
    let mut flat = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                flat.extend(flatten(group.stream()));
            }
            other => flat.push(other),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the items of `text`, each as `key`, `key = value`, `key(inside)` or `value`, and the messages.
    fn split_text(text: &str) -> (Vec<String>, Vec<String>) {
        let mut errors = Errors::default();
        let items = split(text.parse().unwrap(), &mut errors);
        let items = items.into_iter().map(|item| match item {
            Item::Bare(value) => value.to_string(),
            Item::Keyed(key, Value::Missing) => key.to_string(),
            Item::Keyed(key, Value::Assigned(value)) => format!("{key} = {value}"),
            Item::Keyed(key, Value::List(inside, _)) => format!("{key}({inside})"),
        });
        (items.collect(), errors.messages())
    }

    #[test]
    fn items_are_separated_by_commas() {
        let (items, messages) = split_text(r#""sms", a = 1, b(x = 2, y), crate = ::p::q, c = -1.5, d,"#);
        assert_eq!(items, ["\"sms\"", "a = 1", "b(x = 2 , y)", "crate = :: p :: q", "c = - 1.5", "d"]);
        assert_eq!(messages, [""; 0]);
    }

    #[test]
    fn after_a_wrong_separator_every_item_is_found() {
        let (items, messages) = split_text(r#", "sms" a = 1 b 2,, c: 3, d = "#);
        assert_eq!(items, ["\"sms\"", "a = 1", "b = 2", "c = 3", "d"]);
        assert_eq!(
            messages,
            [
                "unexpected `,`\nremove it",
                "missing `,` before `a`",
                "missing `,` before `b`",
                "missing `=` before `2`\nwrite `b = 2`",
                "unexpected `,`\nremove it",
                "expected `=`, found `:`\nwrite `c = ..`",
            ]
        );
    }

    #[test]
    fn an_expression_is_one_item() {
        let (items, messages) = split_text(r#"concat!("a", "b"), names::SMS, a = 1 + x"#);
        assert_eq!(items[0], r#"concat ! ("a" , "b")"#);
        assert_eq!(items[1], "names :: SMS");
        assert_eq!(items[2], "a = 1 + x");
        assert_eq!(messages, [""; 0]);
    }
}
