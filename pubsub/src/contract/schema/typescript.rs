//! TypeScript types, from JSON Schema as the derives of schemars write it. A schema without a counterpart in TypeScript
//! becomes a wider type.

use super::channel_schema::ChannelSchema;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEAD: &str = "// Written by `pubsub schema export`. Do not edit.\n";

/// Returns a namespace for each version of each channel, then the types that name them all.
pub(super) fn write(schemas: &[ChannelSchema]) -> String {
    let mut text = HEAD.to_owned();
    let mut taken = BTreeSet::new();
    let (mut newest, mut events) = (Vec::new(), String::new());
    for (at, schema) in schemas.iter().enumerate() {
        let space = namespace_of(schema, &mut taken);
        text.push('\n');
        push_comment(&mut text, "", &schema.description);
        write_namespace(&mut text, &space, &schema.schema);
        let (channel, version) = (quoted(&schema.channel), schema.version);
        if schemas.get(at + 1).is_none_or(|next| next.channel != schema.channel) {
            newest.push(format!("  {channel}: {space}.Payload;\n"));
        }
        let optional = if version == 1 { "?" } else { "" };
        _ = write!(
            events,
            "\n  | {{ channel: {channel}; version{optional}: {version}; payload: {space}.Payload; \
             key?: string | null; headers?: Record<string, unknown> | null }}"
        );
    }
    if events.is_empty() {
        events.push_str(" never");
    }
    _ = write!(
        text,
        "\n/** The payload of each channel, in its newest version. */\nexport interface Channels {{\n{}}}\n\n\
         export type Channel = keyof Channels;\n\n\
         /** An event, with what is published beside its payload. */\nexport type Event ={events};\n",
        newest.concat()
    );
    text
}

/// Returns `OrderPaidV2` for version 2 of `order.paid`, and `OrderPaid` for version 1.
fn namespace_of(schema: &ChannelSchema, taken: &mut BTreeSet<String>) -> String {
    let version = if schema.version == 1 { String::new() } else { format!("V{}", schema.version) };
    let base = format!("{}{version}", identifier(&schema.channel));
    let numbered = (2..).map(|nth| format!("{base}_{nth}"));
    let free = std::iter::once(base.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
    free.expect("one of endlessly many names is free")
}

/// Returns a name in Pascal case, made of letters and digits only.
fn identifier(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let pascal: String = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    if pascal.starts_with(|c: char| c.is_ascii_alphabetic()) { pascal } else { format!("_{pascal}") }
}

fn write_namespace(text: &mut String, space: &str, schema: &Value) {
    _ = writeln!(text, "export namespace {space} {{");
    let definitions = schema.get("$defs").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        write_type(text, &definition_name(name), definition);
    }
    write_type(text, "Payload", schema);
    text.push_str("}\n");
}

fn write_type(text: &mut String, name: &str, schema: &Value) {
    push_comment(text, "  ", schema.get("description").and_then(Value::as_str).unwrap_or_default());
    _ = writeln!(text, "  export type {name} = {};", type_of(schema, 1));
}

/// Returns the name of a definition, which is never that of the payload itself.
fn definition_name(name: &str) -> String {
    let name = identifier(name);
    if name == "Payload" { "Payload_".to_owned() } else { name }
}

/// Returns the type that a schema describes. `depth` is the indentation of an object's lines.
fn type_of(schema: &Value, depth: usize) -> String {
    let Some(fields) = schema.as_object() else {
        return if schema == &Value::Bool(false) { "never" } else { "unknown" }.to_owned();
    };
    let mut parts = Vec::new();
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        parts.push(if name == "#" { "Payload".to_owned() } else { definition_name(name) });
    }
    if let Some(value) = fields.get("const") {
        parts.push(value.to_string());
    } else if let Some(values) = fields.get("enum").and_then(Value::as_array) {
        parts.push(union(values.iter().map(Value::to_string)));
    } else if let Some(kinds) = fields.get("type") {
        let kinds: Vec<&str> = match kinds {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let is_bare = kinds == ["object"] && !describes_fields(fields) && has_alternatives(fields);
        if !is_bare {
            parts.push(union(kinds.into_iter().map(|kind| of_kind(kind, fields, depth))));
        }
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(alternatives) = fields.get(key).and_then(Value::as_array) {
            parts.push(union(alternatives.iter().map(|one| type_of(one, depth))));
        }
    }
    for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        parts.push(type_of(part, depth));
    }
    match parts.as_slice() {
        [] => "unknown".to_owned(),
        [one] => one.clone(),
        several => several.iter().map(|part| in_parentheses(part)).collect::<Vec<_>>().join(" & "),
    }
}

fn describes_fields(fields: &Map<String, Value>) -> bool {
    ["properties", "additionalProperties", "patternProperties"].iter().any(|key| fields.contains_key(*key))
}

fn has_alternatives(fields: &Map<String, Value>) -> bool {
    ["anyOf", "oneOf", "allOf", "$ref"].iter().any(|key| fields.contains_key(*key))
}

fn of_kind(kind: &str, fields: &Map<String, Value>, depth: usize) -> String {
    match kind {
        "string" | "boolean" | "null" => kind.to_owned(),
        "integer" | "number" => "number".to_owned(),
        "array" => array(fields, depth),
        "object" => object(fields, depth),
        _ => "unknown".to_owned(),
    }
}

fn array(fields: &Map<String, Value>, depth: usize) -> String {
    if let Some(items) = fields.get("prefixItems").and_then(Value::as_array) {
        let items: Vec<String> = items.iter().map(|item| type_of(item, depth)).collect();
        return format!("[{}]", items.join(", "));
    }
    match fields.get("items") {
        Some(items) => format!("Array<{}>", type_of(items, depth)),
        None => "Array<unknown>".to_owned(),
    }
}

fn object(fields: &Map<String, Value>, depth: usize) -> String {
    let of_others = fields
        .get("patternProperties")
        .and_then(Value::as_object)
        .and_then(|patterns| patterns.values().next());
    let of_others =
        of_others.or_else(|| fields.get("additionalProperties").filter(|others| !others.is_boolean()));
    let others = of_others.map(|others| format!("Record<string, {}>", type_of(others, depth)));
    let Some(properties) =
        fields.get("properties").and_then(Value::as_object).filter(|known| !known.is_empty())
    else {
        let closed = fields.get("additionalProperties") == Some(&Value::Bool(false));
        return others
            .unwrap_or_else(|| format!("Record<string, {}>", if closed { "never" } else { "unknown" }));
    };
    let required: Vec<&str> = fields
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let indent = "  ".repeat(depth + 1);
    let mut text = "{\n".to_owned();
    for (name, schema) in properties {
        push_comment(
            &mut text,
            &indent,
            schema.get("description").and_then(Value::as_str).unwrap_or_default(),
        );
        let optional = if required.contains(&name.as_str()) { "" } else { "?" };
        _ = writeln!(text, "{indent}{}{optional}: {};", field_name(name), type_of(schema, depth + 1));
    }
    _ = write!(text, "{}}}", "  ".repeat(depth));
    match others {
        Some(others) => format!("{text} & {others}"),
        None => text,
    }
}

/// Returns a field's name, in quotes unless it is a plain word.
fn field_name(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_word { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Joins several types into one, each named once.
fn union(types: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for one in types {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    match seen.as_slice() {
        [] => "never".to_owned(),
        several => several.join(" | "),
    }
}

/// Returns a part of an intersection, in which a union needs parentheses.
fn in_parentheses(part: &str) -> String {
    if part.contains(" | ") { format!("({part})") } else { part.to_owned() }
}

fn push_comment(text: &mut String, indent: &str, comment: &str) {
    if comment.is_empty() {
        return;
    }
    // This would end the comment early.
    let comment = comment.replace("*/", "* /");
    let lines: Vec<&str> = comment.lines().map(str::trim_end).collect();
    match lines.as_slice() {
        [line] => _ = writeln!(text, "{indent}/** {line} */"),
        lines => {
            _ = writeln!(text, "{indent}/**");
            for line in lines {
                _ = writeln!(text, "{}", format!("{indent} * {line}").trim_end());
            }
            _ = writeln!(text, "{indent} */");
        }
    }
}
