//! Reads a lock file. Its JSON holds nothing that Rust would not take for tokens, so Rust's own reader does.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::path::Path;
use syn::{LitInt, LitStr};

/// The types of a locked shape; the payload's is the first.
pub(super) struct Locked {
    pub(super) types: Vec<Node>,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) kind: String,
    pub(super) serde: Vec<String>,
    pub(super) parts: Vec<Part>,
}

#[derive(Default)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) serde: Vec<String>,
    pub(super) content: Content,
}

#[derive(Default)]
pub(super) enum Content {
    /// One of the types, by its number.
    Type(usize),
    Node(Node),
    /// A type without a shape, as it is written.
    Opaque(String),
    #[default]
    Missing,
}

/// A JSON value.
enum Value {
    Text(String),
    Number(usize),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

type Read<T> = Result<T, String>;

pub(super) fn read(path: &Path) -> Read<Locked> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let tokens: TokenStream = text.parse().map_err(|_| "it is not JSON".to_owned())?;
    let mut types = Vec::new();
    for (key, value) in object(one(&mut tokens.into_iter())?)? {
        if key == "types" {
            types = list(value)?.into_iter().map(node).collect::<Read<_>>()?;
        }
    }
    if types.is_empty() { Err("it has no types".to_owned()) } else { Ok(Locked { types }) }
}

fn node(value: Value) -> Read<Node> {
    let mut node = Node::default();
    if let Value::Text(kind) = value {
        return Ok(Node { kind, ..node });
    }
    for (key, value) in object(value)? {
        match key.as_str() {
            "kind" => node.kind = text(value)?,
            "serde" => node.serde = list(value)?.into_iter().map(text).collect::<Read<_>>()?,
            "parts" => node.parts = list(value)?.into_iter().map(part).collect::<Read<_>>()?,
            _ => {}
        }
    }
    Ok(node)
}

fn part(value: Value) -> Read<Part> {
    let mut part = Part::default();
    for (key, value) in object(value)? {
        match key.as_str() {
            "name" => part.name = text(value)?,
            "serde" => part.serde = list(value)?.into_iter().map(text).collect::<Read<_>>()?,
            "opaque" => part.content = Content::Opaque(text(value)?),
            "type" => {
                part.content = match value {
                    Value::Number(index) => Content::Type(index),
                    value => Content::Node(node(value)?),
                }
            }
            _ => {}
        }
    }
    Ok(part)
}

fn text(value: Value) -> Read<String> {
    if let Value::Text(text) = value { Ok(text) } else { Err("a text is missing".to_owned()) }
}

fn list(value: Value) -> Read<Vec<Value>> {
    if let Value::List(list) = value { Ok(list) } else { Err("a list is missing".to_owned()) }
}

fn object(value: Value) -> Read<Vec<(String, Value)>> {
    if let Value::Object(object) = value { Ok(object) } else { Err("an object is missing".to_owned()) }
}

/// The next value. A negative number, of which there is but the fingerprint, counts without its sign.
fn one(tokens: &mut impl Iterator<Item = TokenTree>) -> Read<Value> {
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            let mut inside = group.stream().into_iter().peekable();
            let mut list = Vec::new();
            while inside.peek().is_some() {
                list.push(one(&mut inside)?);
                // The comma.
                inside.next();
            }
            Ok(Value::List(list))
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let mut inside = group.stream().into_iter().peekable();
            let mut object = Vec::new();
            while inside.peek().is_some() {
                let key = text(one(&mut inside)?)?;
                inside.next();
                object.push((key, one(&mut inside)?));
                inside.next();
            }
            Ok(Value::Object(object))
        }
        Some(TokenTree::Literal(literal)) => {
            let tokens = TokenStream::from(TokenTree::Literal(literal));
            if let Ok(text) = syn::parse2::<LitStr>(tokens.clone()) {
                return Ok(Value::Text(text.value()));
            }
            let number =
                syn::parse2::<LitInt>(tokens).map_err(|_| "there is a value of no known kind".to_owned())?;
            Ok(Value::Number(number.base10_parse().unwrap_or(usize::MAX)))
        }
        Some(TokenTree::Punct(minus)) if minus.as_char() == '-' => one(tokens),
        _ => Err("it is not JSON of the kind that `pubsub schema lock` writes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Read<Vec<(String, Value)>> {
        object(one(&mut text.parse::<TokenStream>().unwrap().into_iter())?)
    }

    #[test]
    fn what_the_command_line_writes_is_read() {
        let read = parse(
            r#"{"fingerprint": -9223372036854775808, "types": [{"kind": "enum", "serde": ["tag=\"t\""], "parts": [
                {"name": "a", "type": 1}, {"name": "b", "type": "u8"}, {"name": "c", "opaque": "x::Y"},
                {"name": "d", "type": {"kind": "list", "parts": [{"type": "string"}]}}]}]}"#,
        );
        let Ok(mut read) = read else { panic!("it is read") };
        let Ok(types) = list(read.remove(1).1) else { panic!("a list") };
        let Ok(node) = node(types.into_iter().next().unwrap()) else { panic!("a node") };
        assert_eq!(
            (node.kind.as_str(), node.serde.as_slice()),
            ("enum", ["tag=\"t\"".to_owned()].as_slice())
        );
        let names: Vec<&str> = node.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert!(matches!(node.parts[0].content, Content::Type(1)));
        assert!(matches!(&node.parts[1].content, Content::Node(node) if node.kind == "u8"));
        assert!(matches!(&node.parts[2].content, Content::Opaque(written) if written == "x::Y"));
        assert!(matches!(&node.parts[3].content, Content::Node(node) if node.parts.len() == 1));
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        for text in ["", "[]", "{1: 2}", r#"{"a" "b"}"#, r#"{"a": true}"#, r#"{"a": }"#] {
            let read = parse(text);
            assert!(read.is_err() || text.is_empty(), "{text}");
        }
    }
}
