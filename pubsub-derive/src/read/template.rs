//! Reads the template of a deduplication key, such as `"{user_id}:{kind}"`.

use super::field_path::FieldPath;
use proc_macro2::Span;

/// A piece of a template.
pub(crate) enum Piece {
    Text(String),
    Field(FieldPath),
}

/// Returns the pieces of `template`, or the message for its first mistake. `example` is a field of the type, if there is one.
pub(crate) fn parse(template: &str, at: Span, example: Option<&str>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut letters = template.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        match letter {
            '{' | '}' if letters.next_if(|(_, next)| *next == letter).is_some() => text.push(letter),
            '}' => {
                return Err(fault(
                    template,
                    start,
                    "`}` has no opening `{`",
                    "write `}}` for the character itself",
                ));
            }
            '{' => {
                let rest = &template[start + 1..];
                let Some(end) = rest.find(['{', '}']).filter(|end| rest[*end..].starts_with('}')) else {
                    let hint = "write `{{` for the character itself";
                    return Err(fault(template, start, "`{` is never closed", hint));
                };
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                } else if !pieces.is_empty() {
                    let what = "nothing separates two fields, so different events could have the same key";
                    let before = &template[..start];
                    return Err(fault(
                        template,
                        start,
                        what,
                        &format!("write `{before}:{}`", &template[start..]),
                    ));
                }
                pieces.push(Piece::Field(field(template, start, &rest[..end], at, example)?));
                while letters.next_if(|(next, _)| *next <= start + 1 + end).is_some() {}
            }
            '\\' => {
                let what = "`\\` marks separators inside of fields, and cannot stand in the template";
                return Err(fault(template, start, what, "write another separator, such as `:`"));
            }
            other => text.push(other),
        }
    }
    if !pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
        return Err(constant(template, example));
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Reads the text `inside` the braces at `start`.
fn field(
    template: &str,
    start: usize,
    inside: &str,
    at: Span,
    example: Option<&str>,
) -> Result<FieldPath, String> {
    let example = example.unwrap_or("id");
    if inside.trim().is_empty() {
        return Err(fault(template, start, "`{}` names no field", &format!("write `{{{example}}}`")));
    }
    if let Some((name, _)) = inside.split_once(':') {
        let what = format!("`{{{inside}}}` has a format, which a deduplication key does not support");
        return Err(fault(template, start + 1 + name.len(), &what, &format!("write `{{{}}}`", name.trim())));
    }
    FieldPath::from_text(inside, at).ok_or_else(|| {
        let tight: String = inside.split_whitespace().collect();
        let write = if FieldPath::from_text(&tight, at).is_some() { &tight } else { example };
        let what = format!("`{{{inside}}}` is not the name of a field");
        fault(template, start, &what, &format!("write `{{{write}}}`"))
    })
}

/// Returns the message for a template without a field.
fn constant(template: &str, example: Option<&str>) -> String {
    let write = match example {
        // The braces are missing, as in `dedupe = "user_id"`.
        Some(_) if FieldPath::from_text(template, Span::call_site()).is_some() => {
            format!("write a field in braces, such as `\"{{{template}}}\"`")
        }
        Some(example) => format!("write a field in braces, such as `\"{{{example}}}\"`"),
        None => "a type without fields cannot have a deduplication key: leave `dedupe` out".to_owned(),
    };
    format!(
        "the deduplication key is the same for every event, so only the first would be published\n{write}"
    )
}

/// Returns a message with a picture that points into the template. A span inside a literal needs nightly Rust.
fn fault(template: &str, at: usize, what: &str, hint: &str) -> String {
    let position = template[..at].chars().count();
    let is_plain = template.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let picture = match is_plain {
        true => format!("    {template}\n    {}^\n", " ".repeat(position)),
        false => String::new(),
    };
    format!("{what}, at position {}\n{picture}{hint}", position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::field_path::spelled;

    fn shown(template: &str) -> Result<Vec<String>, String> {
        let pieces = parse(template, Span::call_site(), Some("id"))?;
        let shown = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => format!("{text:?}"),
            Piece::Field(path) => {
                let members = std::iter::once(&path.first).chain(&path.rest);
                members.map(spelled).collect::<Vec<_>>().join(".")
            }
        });
        Ok(shown.collect())
    }

    #[test]
    fn fields_are_in_braces_and_double_braces_are_text() {
        assert_eq!(shown("{user_id}:{kind}").unwrap(), ["user_id", "\":\"", "kind"]);
        assert_eq!(shown("{{{id}}}").unwrap(), ["\"{\"", "id", "\"}\""]);
        assert_eq!(shown("ö{a.b}-{0}x").unwrap(), ["\"ö\"", "a.b", "\"-\"", "0", "\"x\""]);
    }

    #[test]
    fn a_malformed_template_points_at_the_brace() {
        let cases = [
            (
                "{id}:{kind",
                "`{` is never closed, at position 6\n    {id}:{kind\n         ^\nwrite `{{` for the character itself",
            ),
            (
                "{a{b}",
                "`{` is never closed, at position 1\n    {a{b}\n    ^\nwrite `{{` for the character itself",
            ),
            (
                "id}",
                "`}` has no opening `{`, at position 3\n    id}\n      ^\nwrite `}}` for the character itself",
            ),
            ("x{}", "`{}` names no field, at position 2\n    x{}\n     ^\nwrite `{id}`"),
            (
                "{id:>5}",
                "`{id:>5}` has a format, which a deduplication key does not support, at position 4\n    {id:>5}\n       ^\nwrite `{id}`",
            ),
            (
                "{a}{b}",
                "nothing separates two fields, so different events could have the same key, at position 4\n    {a}{b}\n       ^\nwrite `{a}:{b}`",
            ),
            (
                "{a}\\{b}",
                "`\\` marks separators inside of fields, and cannot stand in the template, at position 4\n    {a}\\{b}\n       ^\nwrite another separator, such as `:`",
            ),
            ("{ id }", "`{ id }` is not the name of a field, at position 1\n    { id }\n    ^\nwrite `{id}`"),
            ("ö}", "`}` has no opening `{`, at position 2\nwrite `}}` for the character itself"),
        ];
        for (template, message) in cases {
            assert_eq!(shown(template), Err(message.to_owned()), "{template}");
        }
    }

    #[test]
    fn a_template_without_a_field_is_refused() {
        for (template, write) in [("user_id", "{user_id}"), ("", "{id}"), ("a b", "{id}"), ("{{id}}", "{id}")]
        {
            let message = shown(template).unwrap_err();
            assert!(message.ends_with(&format!("such as `\"{write}\"`")), "{message}");
        }
    }
}
