//! Reads a lock file. Its JSON contains only what is also a Rust token, so Rust's own tokenizer reads it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::path::Path;
use syn::{LitInt, LitStr};

/// The types of a recorded shape. The payload's is the first.
pub(super) struct LockFile {
    pub(super) types: Vec<RecordedType>,
}

#[derive(Default)]
pub(super) struct RecordedType {
    pub(super) kind: String,
    pub(super) serde: Vec<String>,
    pub(super) members: Vec<RecordedMember>,
}

#[derive(Default)]
pub(super) struct RecordedMember {
    pub(super) name: String,
    pub(super) serde: Vec<String>,
    pub(super) content: RecordedContent,
}

#[derive(Default)]
pub(super) enum RecordedContent {
    /// One of the file's types, by its number.
    Numbered(usize),
    Inline(RecordedType),
    /// A type without a shape, as the source spells it.
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

pub(super) fn read(path: &Path) -> Read<LockFile> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let tokens: TokenStream = text.parse().map_err(|_| "it is not JSON".to_owned())?;
    let mut types = Vec::new();
    for (key, value) in object(next_value(&mut tokens.into_iter())?)? {
        if key == "types" {
            types = list(value)?.into_iter().map(recorded_type).collect::<Read<_>>()?;
        }
    }
    if types.is_empty() { Err("it has no types".to_owned()) } else { Ok(LockFile { types }) }
}

fn recorded_type(value: Value) -> Read<RecordedType> {
    let mut recorded = RecordedType::default();
    if let Value::Text(kind) = value {
        return Ok(RecordedType { kind, ..recorded });
    }
    for (key, value) in object(value)? {
        match key.as_str() {
            "kind" => recorded.kind = text(value)?,
            "serde" => recorded.serde = texts(value)?,
            "parts" => {
                recorded.members = list(value)?.into_iter().map(recorded_member).collect::<Read<_>>()?;
            }
            _ => {}
        }
    }
    Ok(recorded)
}

fn recorded_member(value: Value) -> Read<RecordedMember> {
    let mut recorded = RecordedMember::default();
    for (key, value) in object(value)? {
        match key.as_str() {
            "name" => recorded.name = text(value)?,
            "serde" => recorded.serde = texts(value)?,
            "opaque" => recorded.content = RecordedContent::Opaque(text(value)?),
            "type" => {
                recorded.content = match value {
                    Value::Number(index) => RecordedContent::Numbered(index),
                    value => RecordedContent::Inline(recorded_type(value)?),
                }
            }
            _ => {}
        }
    }
    Ok(recorded)
}

fn texts(value: Value) -> Read<Vec<String>> {
    list(value)?.into_iter().map(text).collect()
}

fn text(value: Value) -> Read<String> {
    if let Value::Text(text) = value {
        Ok(text)
    } else {
        Err("it has another value where a string belongs".to_owned())
    }
}

fn list(value: Value) -> Read<Vec<Value>> {
    if let Value::List(list) = value {
        Ok(list)
    } else {
        Err("it has another value where a list belongs".to_owned())
    }
}

fn object(value: Value) -> Read<Vec<(String, Value)>> {
    if let Value::Object(object) = value {
        Ok(object)
    } else {
        Err("it has another value where an object belongs".to_owned())
    }
}

/// Reads the next value. The sign of a number is dropped: only the fingerprint can be negative, and it is not read here.
fn next_value(tokens: &mut impl Iterator<Item = TokenTree>) -> Read<Value> {
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            let mut inside = group.stream().into_iter().peekable();
            let mut list = Vec::new();
            while inside.peek().is_some() {
                list.push(next_value(&mut inside)?);
                // Skip the comma.
                inside.next();
            }
            Ok(Value::List(list))
        }
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            let mut inside = group.stream().into_iter().peekable();
            let mut object = Vec::new();
            while inside.peek().is_some() {
                let key = text(next_value(&mut inside)?)?;
                inside.next();
                object.push((key, next_value(&mut inside)?));
                inside.next();
            }
            Ok(Value::Object(object))
        }
        Some(TokenTree::Literal(literal)) => {
            let tokens = TokenStream::from(TokenTree::Literal(literal));
            if let Ok(text) = syn::parse2::<LitStr>(tokens.clone()) {
                return Ok(Value::Text(text.value()));
            }
            let number = syn::parse2::<LitInt>(tokens)
                .map_err(|_| "it has a value that `pubsub schema lock` does not write".to_owned())?;
            Ok(Value::Number(number.base10_parse().unwrap_or(usize::MAX)))
        }
        Some(TokenTree::Punct(minus)) if minus.as_char() == '-' => next_value(tokens),
        _ => Err("it is not JSON as `pubsub schema lock` writes it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Read<Vec<(String, Value)>> {
        object(next_value(&mut text.parse::<TokenStream>().unwrap().into_iter())?)
    }

    #[test]
    fn the_format_of_the_command_line_is_read() {
        let read = parse(
            r#"{"fingerprint": -9223372036854775808, "types": [{"kind": "enum", "serde": ["tag=\"t\""], "parts": [
                {"name": "a", "type": 1}, {"name": "b", "type": "u8"}, {"name": "c", "opaque": "x::Y"},
                {"name": "d", "type": {"kind": "list", "parts": [{"type": "string"}]}}]}]}"#,
        );
        let Ok(mut read) = read else { panic!("the text is read") };
        let Ok(types) = list(read.remove(1).1) else { panic!("a list") };
        let Ok(recorded) = recorded_type(types.into_iter().next().unwrap()) else { panic!("a type") };
        assert_eq!(
            (recorded.kind.as_str(), recorded.serde.as_slice()),
            ("enum", ["tag=\"t\"".to_owned()].as_slice())
        );
        let names: Vec<&str> = recorded.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert!(matches!(recorded.members[0].content, RecordedContent::Numbered(1)));
        assert!(
            matches!(&recorded.members[1].content, RecordedContent::Inline(inline) if inline.kind == "u8")
        );
        assert!(
            matches!(&recorded.members[2].content, RecordedContent::Opaque(type_name) if type_name == "x::Y")
        );
        assert!(
            matches!(&recorded.members[3].content, RecordedContent::Inline(inline) if inline.members.len() == 1)
        );
    }

    #[test]
    fn malformed_lock_files_are_refused() {
        for text in ["", "[]", "{1: 2}", r#"{"a" "b"}"#, r#"{"a": true}"#, r#"{"a": }"#] {
            let read = parse(text);
            assert!(read.is_err() || text.is_empty(), "{text}");
        }
    }
}
