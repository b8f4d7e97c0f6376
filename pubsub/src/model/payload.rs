//! Writes payloads, and refuses those that could not be stored or read back.

use crate::contract::older_version::DecodeError;
use crate::error::{PayloadError, error_chain};
use crate::model::channel::{Channel, Payload};
use memchr::memchr2;
use serde::ser::Error as _;

/// The deepest nesting of a payload that is published. serde_json reads 128 levels, which leaves room for programs that wrap
/// the payload.
pub(crate) const MAX_DEPTH: usize = 64;

/// The longest key or deduplication key of an event, in bytes. Their indexes allow at most about twice that.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// Refuses a key that cannot be stored or indexed.
pub(crate) fn check_key(key: &str) -> Result<(), PayloadError> {
    if let Some(at) = key.bytes().position(|byte| byte == 0) {
        return Err(PayloadError::NulInKey { at });
    }
    match key.len() {
        bytes if bytes > MAX_KEY_BYTES => Err(PayloadError::KeyTooLong { bytes, limit: MAX_KEY_BYTES }),
        _ => Ok(()),
    }
}

/// Returns the reason why a payload cannot be decoded, as text that may be stored and logged. serde's text may quote the payload, so
/// only the place of the error is kept, and what the type says.
pub(crate) fn undecodable(error: &DecodeError) -> String {
    let DecodeError::Json(error) = error else { return error_chain(error) };
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    let expected = said_by_type(said).map_or(String::new(), |said| format!(": {said}"));
    format!(
        "not readable at line {line} column {column}{expected}; what else serde says may quote the payload, and is withheld"
    )
}

/// Returns the part of serde's text that comes from the type. Texts of other forms are of somebody else, who may quote anything.
fn said_by_type(said: &str) -> Option<String> {
    const QUOTING: [&str; 5] =
        ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `", "unknown field `"];
    if let Some(field) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return Some(format!("`{field}` is missing"));
    }
    // Serde expects nothing of a type without fields or variants, so an ", expected " is the payload's.
    let expects_nothing =
        said.ends_with(", there are no fields") || said.ends_with(", there are no variants");
    let is_serdes = !expects_nothing && QUOTING.iter().any(|form| said.starts_with(form));
    let (_, expected) = said.rsplit_once(", expected ").filter(|_| is_serdes)?;
    Some(format!("expected {expected}"))
}

fn withheld<C: Channel>() -> String {
    let fields: Vec<String> = C::REDACTED.iter().map(|field| format!("`{field}`")).collect();
    let are = if fields.len() == 1 { "is" } else { "are" };
    format!("what serde says is withheld, because {} {are} redacted", fields.join(", "))
}

/// Returns the JSON text of an event's payload.
///
/// The text is read back, because serde writes some values that it does not read: JSON has no NaN, so serde writes `null`. Such
/// an event would be a dead letter of every subscription.
///
/// # Errors
/// As [`encode`], without serde's text if the channel has redacted fields; and if the type cannot read the text.
pub(crate) fn encode_event<C: Channel>(event: &C) -> Result<String, PayloadError> {
    let json = encode(event).map_err(|error| match error {
        PayloadError::Unserializable(_) if !C::REDACTED.is_empty() => {
            PayloadError::Unserializable(serde_json::Error::custom(withheld::<C>()))
        }
        other => other,
    })?;
    match C::decode(C::VERSION, json.as_bytes()) {
        Err(DecodeError::Json(error)) => Err(PayloadError::Unreadable { at: error.column() }),
        Ok(_) | Err(DecodeError::TooOld { .. }) => Ok(json),
    }
}

/// Returns the JSON text of a payload.
///
/// # Errors
/// If serde cannot write it, or it has a NUL character, or it nests deeper than [`MAX_DEPTH`] levels.
pub(crate) fn encode(payload: &impl Payload) -> Result<String, PayloadError> {
    let json = payload.to_json().map_err(PayloadError::Unserializable)?;
    inspect(json.as_bytes())?;
    Ok(json)
}

/// Searches well-formed JSON for anything that PostgreSQL or a reader would refuse.
fn inspect(json: &[u8]) -> Result<(), PayloadError> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_text(json, at + 1)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(PayloadError::TooDeep { limit: MAX_DEPTH });
                }
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Returns the place of the quote that ends the text from `at` on. Most of a payload is text, and most of a text has no escapes.
fn end_of_text(json: &[u8], mut at: usize) -> Result<usize, PayloadError> {
    while let Some(found) = memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
        at += found;
        if json[at] == b'"' {
            return Ok(at);
        }
        if json[at..].starts_with(b"\\u0000") {
            return Err(PayloadError::Nul { at });
        }
        at += 2; // the escaped character, which may be a quote
    }
    Ok(json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn a_nul_is_refused_wherever_it_stands() {
        for payload in [json!("\0"), json!({"a": ["x\0y"]}), json!({"k\0": 1})] {
            assert!(matches!(encode(&payload), Err(PayloadError::Nul { .. })), "{payload}");
        }
    }

    #[test]
    fn text_that_only_looks_like_an_escaped_nul_is_fine() {
        assert_eq!(encode(&json!("\\u0000")).unwrap(), r#""\\u0000""#);
        assert_eq!(encode(&json!("a\"[[[\\")).unwrap(), r#""a\"[[[\\""#);
    }

    #[test]
    fn nesting_is_refused_past_its_limit_only() {
        let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
        assert!(encode(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(encode(&nested(MAX_DEPTH + 1)), Err(PayloadError::TooDeep { .. })));
    }

    #[test]
    fn what_serde_says_is_kept_without_the_payload() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            #[serde(rename = "n")]
            _n: u8,
            #[serde(rename = "e")]
            _e: Option<Kind>,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Kind {
            A,
        }
        for (json, expected) in [
            (r#"{"n": "hunter2"}"#, "column 15: expected u8;"),
            (r#"{"n": "x, expected hunter2"}"#, "expected u8;"),
            (r#"{"n": 1, "hunter2": 1}"#, "expected `n` or `e`;"),
            (r#"{"n": 1, "e": "hunter2"}"#, "expected `A`;"),
            (r#"{"e": null}"#, "`n` is missing;"),
            (r#"hunter2"#, "column 1;"),
        ] {
            let said = undecodable(&DecodeError::Json(serde_json::from_str::<Named>(json).unwrap_err()));
            assert!(said.contains(expected) && !said.contains("hunter2"), "{said}");
        }
        assert_eq!(said_by_type("the sum is wrong, expected 7, found hunter2"), None);
        assert_eq!(said_by_type("unknown field `x, expected hunter2`, there are no fields"), None);
    }

    /// In every text of a payload. No error may show it.
    const SECRET: &str = "hunter2";
    /// The same of numbers.
    const SECRET_NUMBER: i64 = 482_957_103;

    /// Any JSON, whose fields are often those of [`Confidential`].
    fn confidential_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just(SECRET.to_owned()),
            "[ -~]{0,9}".prop_map(|text| format!("{SECRET}, expected {text}{SECRET}"))
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            Just(json!(SECRET_NUMBER)),
            Just(json!(-SECRET_NUMBER)),
            Just(json!(482_957_103.5)),
            text.clone().prop_map(Value::from),
        ];
        let name = prop_oneof![3 => "[a-h]", 1 => Just("t".to_owned()), 1 => text];
        leaf.prop_recursive(3, 24, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(name.clone(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "it is only read")]
    struct Confidential {
        a: Option<std::net::IpAddr>,
        b: Option<jiff::Timestamp>,
        #[serde(default)]
        c: std::collections::BTreeMap<u8, char>,
        d: Option<(u8, std::num::NonZeroU8)>,
        e: Option<Tagged>,
        f: Option<Untagged>,
        #[serde(default, with = "converted")]
        g: u8,
        #[serde(flatten)]
        rest: std::collections::HashMap<String, u16>,
    }

    mod converted {
        pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
            let text: String = serde::Deserialize::deserialize(from)?;
            text.parse().map_err(|_| serde::de::Error::custom(format!("`{text}` is no number")))
        }
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(tag = "t", deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read")]
    enum Tagged {
        A { a: bool },
        B(std::time::Duration),
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "it is only read")]
    enum Untagged {
        A { a: f32 },
        B([u8; 2]),
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    proptest! {
        #[test]
        fn no_decode_error_quotes_the_payload(json in confidential_json(), cut in any::<proptest::sample::Index>()) {
            let text = json.to_string();
            for json in [&text[..], text.get(..cut.index(text.len() + 1)).unwrap_or_default()] {
                let errors = [
                    serde_json::from_str::<Confidential>(json).err(),
                    serde_json::from_str::<Tagged>(json).err(),
                    serde_json::from_str::<Untagged>(json).err(),
                    serde_json::from_str::<Nothing>(json).err(),
                ];
                for error in errors.into_iter().flatten() {
                    let said = undecodable(&DecodeError::Json(error));
                    prop_assert!(!said.contains(SECRET) && !said.contains("482957103"), "{}", said);
                }
            }
        }

        #[test]
        fn any_text_is_published_unless_it_has_a_nul(text in any::<String>()) {
            prop_assert_eq!(encode(&text).is_ok(), !text.contains('\0'));
        }

        #[test]
        fn what_is_encoded_decodes_to_itself(text in "[^\0]*", number in any::<i64>()) {
            let payload = json!({ "text": text, "number": number, "nested": [[{}]] });
            let encoded = encode(&payload).unwrap();
            prop_assert_eq!(Value::from_json(encoded.as_bytes()).unwrap(), payload);
        }
    }
}
