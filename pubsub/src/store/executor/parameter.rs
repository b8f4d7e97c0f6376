//! The values that a statement takes.

use std::borrow::Cow;

/// A value that a statement takes, with its type in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter<'a> {
    /// A `text`, or null.
    Text(Option<&'a str>),
    /// An `integer`.
    Int4(i32),
    /// A `bigint`, or null.
    Int8(Option<i64>),
    /// A `text[]`.
    Texts(&'a [Option<Cow<'a, str>>]),
}

/// Writes a `text[]` as PostgreSQL reads it, for drivers without such arrays.
pub(crate) fn array(values: &[Option<Cow<'_, str>>]) -> String {
    let mut text = String::from("{");
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let Some(value) = value else {
            text.push_str("null");
            continue;
        };
        text.push('"');
        for character in value.chars() {
            if ['"', '\\'].contains(&character) {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn an_array_is_written_as_the_server_reads_it() {
        assert_eq!(array(&[]), "{}");
        let values =
            [Some("a".into()), None, Some("null".into()), Some(r#"{"b": "\"}"#.into()), Some("".into())];
        assert_eq!(array(&values), r#"{"a",null,"null","{\"b\": \"\\\"}",""}"#);
    }
}
