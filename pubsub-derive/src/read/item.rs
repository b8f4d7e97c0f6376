//! Splits the inside of an attribute into its items: `"sms"`, `key = value`, `key(..)`.
//!
//! Works on tokens, not on a grammar: whatever is wrong in one item, the next one is still found and checked.

use crate::errors::Errors;
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::Ident;

/// One item of an attribute.
pub(crate) enum Item {
    /// A value without a key.
    Bare(TokenStream),
    Keyed(Ident, Value),
}

/// What stands after a key.
pub(crate) enum Value {
    /// Nothing: `key`.
    Missing,
    /// `key = ..`; never empty.
    Assigned(TokenStream),
    /// `key(..)`; the tokens inside, and the group itself for messages.
    List(TokenStream, TokenTree),
}

/// Splits `tokens` into items. Reports what separates them badly.
pub(crate) fn split(tokens: TokenStream, errors: &mut Errors) -> Vec<Item> {
    let mut rest = Rest { tokens: flatten(tokens), next: 0 };
    let mut items = Vec::new();
    while let Some(token) = rest.take() {
        if is_punct(&token, ',') {
            errors.push(&token, "nothing stands before this `,`\nremove it");
            continue;
        }
        items.push(match token {
            TokenTree::Ident(key) => keyed(key, &mut rest, errors),
            TokenTree::Literal(_) => Item::Bare(rest.value(token.into())),
            other => Item::Bare(rest.until_comma(other.into())),
        });
        match rest.peek() {
            Some(token) if is_punct(token, ',') => drop(rest.take()),
            Some(token) => errors.push(token, format!("missing `,` before `{token}`")),
            None => {}
        }
    }
    items
}

/// The item that starts with `key`.
fn keyed(key: Ident, rest: &mut Rest, errors: &mut Errors) -> Item {
    match rest.peek() {
        None => Item::Keyed(key, Value::Missing),
        Some(token) if is_punct(token, ',') => Item::Keyed(key, Value::Missing),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            let (inside, group) = (group.stream(), TokenTree::Group(group.clone()));
            drop(rest.take());
            Item::Keyed(key, Value::List(inside, group))
        }
        Some(token) if is_punct(token, '=') => {
            drop(rest.take());
            Item::Keyed(key, assigned(rest))
        }
        Some(token @ TokenTree::Literal(value)) => {
            errors.push(token, format!("missing `=` before `{value}`\nwrite `{key} = {value}`"));
            Item::Keyed(key, assigned(rest))
        }
        Some(token @ TokenTree::Punct(colon))
            if colon.as_char() == ':' && colon.spacing() == Spacing::Alone =>
        {
            errors.push(token, format!("a value follows `=`, not `:`\nwrite `{key} = ..`"));
            drop(rest.take());
            Item::Keyed(key, assigned(rest))
        }
        // A missing comma: the caller reports it, and the next item starts there.
        Some(TokenTree::Ident(_)) => Item::Keyed(key, Value::Missing),
        Some(_) => Item::Bare(rest.until_comma(TokenTree::from(key).into())),
    }
}

/// The value after a `=`.
fn assigned(rest: &mut Rest) -> Value {
    let sign = rest.peek().filter(|token| is_punct(token, '-')).cloned();
    if sign.is_some() {
        drop(rest.take());
    }
    let mut value: TokenStream = sign.into_iter().collect();
    if let Some(TokenTree::Literal(_)) = rest.peek() {
        value.extend(rest.take());
        value = rest.value(value);
    } else {
        value = rest.until_comma(value);
    }
    if value.is_empty() { Value::Missing } else { Value::Assigned(value) }
}

/// The tokens not yet split.
struct Rest {
    tokens: Vec<TokenTree>,
    next: usize,
}

impl Rest {
    fn peek(&self) -> Option<&TokenTree> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<TokenTree> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    /// `literal`, with what makes it an expression. A word or another literal does not: there, a comma is missing.
    fn value(&mut self, literal: TokenStream) -> TokenStream {
        match self.peek() {
            Some(TokenTree::Punct(_)) => self.until_comma(literal),
            _ => literal,
        }
    }

    /// `start`, and everything before the next comma.
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

/// `tokens` without the invisible groups that `macro_rules!` puts around `$value:literal` and its like.
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

    /// The items of `text`, each as `key`, `key = value`, `key(inside)` or `value`, and the messages.
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
    fn a_bad_separator_is_reported_and_every_item_still_found() {
        let (items, messages) = split_text(r#", "sms" a = 1 b 2,, c: 3, d = "#);
        assert_eq!(items, ["\"sms\"", "a = 1", "b = 2", "c = 3", "d"]);
        assert_eq!(
            messages,
            [
                "nothing stands before this `,`\nremove it",
                "missing `,` before `a`",
                "missing `,` before `b`",
                "missing `=` before `2`\nwrite `b = 2`",
                "nothing stands before this `,`\nremove it",
                "a value follows `=`, not `:`\nwrite `c = ..`",
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
