//! Lock files: the recorded shape of a payload, in `pubsub.lock.d`, against which the derive compares the next build.
//!
//! While `pubsub schema` runs, the derive adds a test that writes or checks the lock file, because only code in the user's
//! crate knows the type.

use super::shape::{Member, Shape, ShapeRef, TypeShape, fingerprint, is_compatible};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// The environment variable that names the report, to which each test adds a line. Set by `pubsub schema`.
const REPORT: &str = "PUBSUB_LOCK_REPORT";

/// Writes or checks the lock file of a type, as the environment variable `PUBSUB_LOCK` says: `write`, `force` or `check`.
///
/// # Panics
/// If the lock file does not match the type, or cannot be written. This is the failure of the test that calls it.
pub fn write_or_check<T: Shape>(directory: &str, channel: &str, version: u32) {
    let file = PathBuf::from(directory).join(format!("{channel}.v{version}.json"));
    let text = render(channel, version, T::SHAPE.get());
    let recorded = fs::read_to_string(&file).ok();
    let mode = std::env::var("PUBSUB_LOCK").unwrap_or_default();
    let difference = compare(recorded.as_deref(), &text);
    let (is_fine, outcome) = match (mode.as_str(), difference) {
        (_, Difference::None) => (true, "is up to date"),
        ("write", Difference::Missing | Difference::Compatible) | ("force", _) => {
            fs::write(&file, &text).expect("a lock file can be written");
            (true, "was written")
        }
        (_, Difference::Missing) => (false, "is missing: run `pubsub schema lock`"),
        (_, Difference::Compatible) => {
            (false, "is out of date, but the change is compatible: run `pubsub schema lock`")
        }
        (_, Difference::Incompatible) => (
            false,
            "is incompatible with the type: undo the change, or give the type the next version and `upcast_from`; if this \
             version was never deployed, run `pubsub schema lock --force`",
        ),
    };
    report(&format!("{channel}.v{version}.json {outcome}"));
    assert!(is_fine, "{} {outcome}", file.display());
}

/// Adds a line to the report.
fn report(line: &str) {
    use std::io::Write as _;
    let Some(report) = std::env::var_os(REPORT) else { return };
    let opened = fs::OpenOptions::new().append(true).create(true).open(report);
    // Tests run in parallel, so a line is one write.
    opened
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .expect("the report can be written");
}

/// The difference between a lock file and its type.
enum Difference {
    /// There is no lock file.
    Missing,
    None,
    Compatible,
    Incompatible,
}

/// Compares the text of a lock file, if there is one, with the text that the type would have now.
fn compare(recorded: Option<&str>, current: &str) -> Difference {
    let Some(recorded) = recorded else { return Difference::Missing };
    if recorded == current {
        return Difference::None;
    }
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok().and_then(|value| parse(&value));
    match (parsed(recorded), parsed(current)) {
        (Some(old), Some(new)) if is_compatible(old, new) => Difference::Compatible,
        _ => Difference::Incompatible,
    }
}

/// Returns the text of a lock file.
fn render(channel: &str, version: u32, shape: &'static TypeShape) -> String {
    let mut types = Types::default();
    types.number(shape);
    let mut at = 0;
    while let Some(&shape) = types.shapes.get(at) {
        let value = types.object(shape);
        types.values.push(value);
        at += 1;
    }
    let file = json!({
        "channel": channel,
        "version": version,
        "fingerprint": fingerprint(ShapeRef::to(shape)).cast_signed(),
        "types": types.values,
    });
    format!("{file:#}\n")
}

/// The types that have a number in a lock file, in the order in which they are met.
#[derive(Default)]
struct Types {
    shapes: Vec<&'static TypeShape>,
    values: Vec<Value>,
}

impl Types {
    fn number(&mut self, shape: &'static TypeShape) -> usize {
        self.shapes.iter().position(|known| known.id == shape.id && shape.id != 0).unwrap_or_else(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        })
    }

    fn value(&mut self, shape: &'static TypeShape) -> Value {
        if shape.id != 0 {
            return self.number(shape).into();
        }
        if shape.serde.is_empty() && shape.members.is_empty() {
            return shape.kind.into();
        }
        self.object(shape)
    }

    fn object(&mut self, shape: &'static TypeShape) -> Value {
        let mut object = Map::new();
        object.insert("kind".to_owned(), shape.kind.into());
        if !shape.serde.is_empty() {
            object.insert("serde".to_owned(), json!(shape.serde));
        }
        if !shape.members.is_empty() {
            let members = shape.members.iter().map(|member| self.member(member)).collect();
            object.insert("parts".to_owned(), Value::Array(members));
        }
        Value::Object(object)
    }

    fn member(&mut self, member: &'static Member) -> Value {
        let mut object = Map::new();
        if !member.name.is_empty() {
            object.insert("name".to_owned(), member.name.into());
        }
        if !member.serde.is_empty() {
            object.insert("serde".to_owned(), json!(member.serde));
        }
        match member.shape {
            Some(shape) => object.insert("type".to_owned(), self.value(shape.get())),
            None => object.insert("opaque".to_owned(), member.type_name.into()),
        };
        Value::Object(object)
    }
}

/// Returns the shape that a lock file describes. Shapes are `'static`, so it is leaked, which a test may do.
fn parse(file: &Value) -> Option<&'static TypeShape> {
    let types = file.get("types")?.as_array()?;
    let mut containing = Vec::new();
    numbered(types, 0, &mut containing)
}

/// Returns the type with number `index`; `containing` are the types that it is part of.
fn numbered(types: &[Value], index: usize, containing: &mut Vec<usize>) -> Option<&'static TypeShape> {
    let id = index as u64 + 1;
    if containing.contains(&index) {
        // A type that contains itself ends here: the comparison has met it before, and only looks at its id.
        return Some(Box::leak(Box::new(TypeShape { id, kind: "", serde: &[], members: &[] })));
    }
    containing.push(index);
    let shape = parse_shape(types, types.get(index)?, id, containing);
    containing.pop();
    shape
}

fn parse_shape(
    types: &[Value],
    value: &Value,
    id: u64,
    containing: &mut Vec<usize>,
) -> Option<&'static TypeShape> {
    let kind = leak(value.as_str().or_else(|| value.get("kind")?.as_str())?);
    let mut members = Vec::new();
    for member in value.get("parts").and_then(Value::as_array).into_iter().flatten() {
        let shape = match member.get("type") {
            Some(Value::Number(index)) => {
                Some(ShapeRef::to(numbered(types, usize::try_from(index.as_u64()?).ok()?, containing)?))
            }
            Some(value) => Some(ShapeRef::to(parse_shape(types, value, 0, containing)?)),
            None => None,
        };
        let text = |key: &str| leak(member.get(key).and_then(Value::as_str).unwrap_or_default());
        members.push(Member {
            name: text("name"),
            serde: attributes(member),
            shape,
            type_name: text("opaque"),
        });
    }
    Some(Box::leak(Box::new(TypeShape { id, kind, serde: attributes(value), members: members.leak() })))
}

fn attributes(value: &Value) -> &'static [&'static str] {
    let listed = value.get("serde").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(Value::as_str).map(leak).collect::<Vec<_>>().leak()
}

fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}
