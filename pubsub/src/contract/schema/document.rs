//! One JSON Schema that covers every event.

use super::channel_schema::ChannelSchema;
use serde_json::{Map, Value, json};

/// Returns the document: its root accepts any event, and it has a definition for each version of each channel and for its
/// payload.
pub(super) fn write(schemas: &[ChannelSchema]) -> String {
    let mut definitions = Map::new();
    let mut events = Vec::new();
    for ChannelSchema { channel, version, description, schema } in schemas {
        let name = format!("{channel}.v{version}");
        let payload = format!("{name}.payload");
        // An insert without a version publishes version 1.
        let required = if *version == 1 {
            json!(["channel", "payload"])
        } else {
            json!(["channel", "version", "payload"])
        };
        let mut event = json!({
            "type": "object",
            "properties": {
                "channel": { "const": channel },
                "version": { "const": version },
                "payload": { "$ref": reference(&payload) },
                "key": { "type": ["string", "null"] },
                "headers": { "type": ["object", "null"] },
            },
            "required": required,
        });
        if !description.is_empty() {
            event["description"] = json!(description);
        }
        events.push(json!({ "$ref": reference(&name) }));
        definitions.insert(name, event);
        definitions.insert(payload.clone(), moved(schema, &reference(&payload)));
    }
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "oneOf": events,
        "$defs": definitions,
    });
    format!("{document:#}\n")
}

fn reference(name: &str) -> String {
    format!("#/$defs/{name}")
}

/// Makes a schema a part of the document: adjusts its references to the definitions that move with it.
fn moved(schema: &Value, to: &str) -> Value {
    match schema {
        Value::Object(fields) => {
            let moved = fields.iter().filter(|(name, _)| *name != "$schema").map(|(name, value)| {
                let value = match value {
                    Value::String(reference) if name == "$ref" && reference.starts_with('#') => {
                        Value::String(format!("{to}{}", &reference[1..]))
                    }
                    other => moved(other, to),
                };
                (name.clone(), value)
            });
            Value::Object(moved.collect())
        }
        Value::Array(items) => items.iter().map(|item| moved(item, to)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_move_with_their_schema() {
        let schema = json!({"$schema": "x", "items": [{"$ref": "#/$defs/Item"}, {"$ref": "#"}], "$defs": {"Item": {}}});
        let channel = ChannelSchema { channel: "a.b".into(), version: 2, description: "D".into(), schema };
        let document: Value = serde_json::from_str(&write(&[channel])).unwrap();
        let payload = &document["$defs"]["a.b.v2.payload"];
        assert_eq!(payload["items"][0]["$ref"], "#/$defs/a.b.v2.payload/$defs/Item");
        assert_eq!(payload["items"][1]["$ref"], "#/$defs/a.b.v2.payload");
        assert_eq!(payload.get("$schema"), None);
        let event = &document["$defs"]["a.b.v2"];
        assert_eq!(event["properties"]["channel"]["const"], "a.b");
        assert_eq!(event["properties"]["payload"]["$ref"], "#/$defs/a.b.v2.payload");
        assert_eq!(event["required"], json!(["channel", "version", "payload"]));
        assert_eq!(event["description"], "D");
    }
}
