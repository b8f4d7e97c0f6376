//! Writes payloads, and refuses those that could not be stored or read back.

use crate::contract::older_version::DecodeError;
use crate::error::{PayloadError, error_chain};
use crate::model::channel::{Channel, Payload};
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

/// Returns the reason why a payload cannot be decoded, as text that may be stored and logged. serde's text quotes the payload,
/// so for a channel with redacted fields only the place of the error is kept.
pub(crate) fn undecodable<C: Channel>(error: &DecodeError) -> String {
    let error = match error {
        DecodeError::Json(error) if !C::REDACTED.is_empty() => error,
        error => return error_chain(error),
    };
    format!("not readable at line {} column {}; {}", error.line(), error.column(), withheld::<C>())
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
    let mut in_text = false;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'\\' if in_text => {
                if json[at..].starts_with(b"\\u0000") {
                    return Err(PayloadError::Nul { at });
                }
                at += 1; // the escaped character, which may be a quote
            }
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(PayloadError::TooDeep { limit: MAX_DEPTH });
                }
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Ok(())
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

    proptest! {
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
