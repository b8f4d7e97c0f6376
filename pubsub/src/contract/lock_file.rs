//! Lock files: what is kept of a channel's shape in `pubsub.lock.d`, for the derive to hold the next build against.
//!
//! Written and compared by the tests that the derive makes while `pubsub schema` runs, for only a test knows the type.

use crate::contract::shape::{Link, Node, Part, Shape, fingerprint, reads};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// Where the tests tell what they found, a line each; set by `pubsub schema`.
const REPORT: &str = "PUBSUB_LOCK_REPORT";

/// Writes the lock of a type, or compares it, as `PUBSUB_LOCK` says: `write`, `force` or `check`.
///
/// # Panics
/// It is a test: if the lock is not as it should be, or cannot be written.
pub fn visit<T: Shape>(directory: &str, channel: &str, version: u32) {
    let file = PathBuf::from(directory).join(format!("{channel}.v{version}.json"));
    let text = render(channel, version, T::NODE.node());
    let kept = fs::read_to_string(&file).ok();
    let mode = std::env::var("PUBSUB_LOCK").unwrap_or_default();
    let verdict = judge(kept.as_deref(), &text);
    let told = match (mode.as_str(), verdict) {
        (_, Verdict::Same) => "is up to date",
        ("write", Verdict::New | Verdict::Compatible) | ("force", _) => {
            fs::write(&file, &text).expect("a lock file can be written");
            "was written"
        }
        (_, Verdict::New) => "is missing: run `pubsub schema lock`",
        (_, Verdict::Compatible) => "is out of date, by a compatible change: run `pubsub schema lock`",
        (_, Verdict::Incompatible) => {
            "is not what the type is now, and neither can read what the other writes: make the type what it was, or give it \
             the next version and `upcast_from`; or, if this version was never deployed, run `pubsub schema lock --force`"
        }
    };
    tell(&format!("{channel}.v{version}.json {told}"));
    assert!(told.starts_with("is up") || told.starts_with("was"), "{} {told}", file.display());
}

fn tell(line: &str) {
    use std::io::Write as _;
    let Some(report) = std::env::var_os(REPORT) else { return };
    let opened = fs::OpenOptions::new().append(true).create(true).open(report);
    // One write for a line: tests run side by side.
    opened
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("the report can be written");
}

enum Verdict {
    New,
    Same,
    Compatible,
    Incompatible,
}

/// What a lock that says `kept` is to a type that would be locked as `text`.
fn judge(kept: Option<&str>, text: &str) -> Verdict {
    let Some(kept) = kept else { return Verdict::New };
    if kept == text {
        return Verdict::Same;
    }
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok().and_then(|value| parse(&value));
    match (parsed(kept), parsed(text)) {
        (Some(old), Some(new)) if reads(old, new) => Verdict::Compatible,
        _ => Verdict::Incompatible,
    }
}

/// A lock file's text.
fn render(channel: &str, version: u32, node: &'static Node) -> String {
    let mut types = Types::default();
    types.number(node);
    let mut at = 0;
    while let Some(&node) = types.nodes.get(at) {
        let value = types.object(node);
        types.values.push(value);
        at += 1;
    }
    let lock = json!({
        "channel": channel,
        "version": version,
        "fingerprint": fingerprint(Link::to(node)).cast_signed(),
        "types": types.values,
    });
    format!("{lock:#}\n")
}

/// The types of a shape that have a number, in the order in which they are met.
#[derive(Default)]
struct Types {
    nodes: Vec<&'static Node>,
    values: Vec<Value>,
}

impl Types {
    fn number(&mut self, node: &'static Node) -> usize {
        self.nodes.iter().position(|known| known.id == node.id && node.id != 0).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        })
    }

    fn value(&mut self, node: &'static Node) -> Value {
        if node.id != 0 {
            return self.number(node).into();
        }
        if node.serde.is_empty() && node.parts.is_empty() {
            return node.kind.into();
        }
        self.object(node)
    }

    fn object(&mut self, node: &'static Node) -> Value {
        let mut object = Map::new();
        object.insert("kind".to_owned(), node.kind.into());
        if !node.serde.is_empty() {
            object.insert("serde".to_owned(), json!(node.serde));
        }
        if !node.parts.is_empty() {
            let parts = node.parts.iter().map(|part| self.part(part)).collect();
            object.insert("parts".to_owned(), Value::Array(parts));
        }
        Value::Object(object)
    }

    fn part(&mut self, part: &'static Part) -> Value {
        let mut object = Map::new();
        if !part.name.is_empty() {
            object.insert("name".to_owned(), part.name.into());
        }
        if !part.serde.is_empty() {
            object.insert("serde".to_owned(), json!(part.serde));
        }
        match part.node {
            Some(link) => object.insert("type".to_owned(), self.value(link.node())),
            None => object.insert("opaque".to_owned(), part.written.into()),
        };
        Value::Object(object)
    }
}

/// The shape that a lock file describes. It is leaked: shapes live for ever, and this one in a test.
fn parse(lock: &Value) -> Option<&'static Node> {
    let types = lock.get("types")?.as_array()?;
    // A type that leads back to itself is cut where it does: there, the comparison has been at it already.
    let mut above = Vec::new();
    numbered(types, 0, &mut above)
}

fn numbered(types: &[Value], index: usize, above: &mut Vec<usize>) -> Option<&'static Node> {
    let id = index as u64 + 1;
    if above.contains(&index) {
        return Some(Box::leak(Box::new(Node { id, kind: "", serde: &[], parts: &[] })));
    }
    above.push(index);
    let node = parse_node(types, types.get(index)?, id, above);
    above.pop();
    node
}

fn parse_node(types: &[Value], value: &Value, id: u64, above: &mut Vec<usize>) -> Option<&'static Node> {
    let kind = leak(value.as_str().or_else(|| value.get("kind")?.as_str())?);
    let mut parts = Vec::new();
    for part in value.get("parts").and_then(Value::as_array).into_iter().flatten() {
        let node = match part.get("type") {
            Some(Value::Number(index)) => {
                Some(Link::to(numbered(types, usize::try_from(index.as_u64()?).ok()?, above)?))
            }
            Some(value) => Some(Link::to(parse_node(types, value, 0, above)?)),
            None => None,
        };
        let text = |key: &str| leak(part.get(key).and_then(Value::as_str).unwrap_or_default());
        parts.push(Part { name: text("name"), serde: attributes(part), node, written: text("opaque") });
    }
    Some(Box::leak(Box::new(Node { id, kind, serde: attributes(value), parts: parts.leak() })))
}

fn attributes(value: &Value) -> &'static [&'static str] {
    let listed = value.get("serde").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(Value::as_str).map(leak).collect::<Vec<_>>().leak()
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}
