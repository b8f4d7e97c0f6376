//! Writing and reading payloads, and refusing what could not be stored or read back.

use crate::model::channel::Payload;

/// Deepest nesting of a payload that is published. serde_json reads 128 levels; the rest is room for whoever wraps it.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a payload cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// serde could not write it.
    #[error("it cannot be written as JSON")]
    Unserializable(#[source] serde_json::Error),
    /// It has a NUL character in a text, which PostgreSQL's jsonb cannot store.
    #[error("it contains a NUL character (\\u0000) at byte {at} of its JSON, which PostgreSQL cannot store")]
    Nul {
        /// Where, in the JSON text.
        at: usize,
    },
    /// It nests too deep for its readers.
    #[error("it nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// The JSON text of a payload.
///
/// # Errors
/// If serde cannot write it, or it has a NUL character, or it nests deeper than [`MAX_DEPTH`] levels.
pub(crate) fn encode(payload: &impl Payload) -> Result<String, PayloadError> {
    let json = payload.to_json().map_err(PayloadError::Unserializable)?;
    inspect(json.as_bytes())?;
    Ok(json)
}

/// Looks through well-formed JSON for what PostgreSQL or a reader would refuse.
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
                    return Err(PayloadError::TooDeep);
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
        assert!(matches!(encode(&nested(MAX_DEPTH + 1)), Err(PayloadError::TooDeep)));
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
