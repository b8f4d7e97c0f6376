//! The name of a field in an attribute: `user_id`, `0`, `order.customer`.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Ident, Index, Member};

/// A path from the type to a field.
pub(crate) struct FieldPath {
    /// The field of the type itself.
    pub(crate) first: Member,
    /// Fields inside that field.
    pub(crate) rest: Vec<Member>,
    /// Where the user wrote the path.
    pub(crate) at: Span,
}

impl FieldPath {
    /// Reads the value of `key = ..`. Returns `None` if it is not a path to a field.
    pub(crate) fn from_tokens(tokens: &TokenStream) -> Option<Self> {
        let mut members = Vec::new();
        let mut expects_member = true;
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(name) if expects_member => members.push(Member::Named(name)),
                TokenTree::Literal(number) if expects_member => {
                    // `0.1` is one literal in Rust, and two fields here.
                    for part in number.to_string().split('.') {
                        members.push(Member::Unnamed(index(part, number.span())?));
                    }
                }
                TokenTree::Punct(dot) if !expects_member && dot.as_char() == '.' => {
                    expects_member = true;
                    continue;
                }
                _ => return None,
            }
            expects_member = false;
        }
        if expects_member { None } else { Self::new(members, tokens.span()) }
    }

    /// Reads the text between the braces of a template.
    pub(crate) fn from_text(text: &str, at: Span) -> Option<Self> {
        let member = |part: &str| match part.starts_with(|c: char| c.is_ascii_digit()) {
            true => index(part, at).map(Member::Unnamed),
            false => identifier(part, at).map(Member::Named),
        };
        Self::new(text.split('.').map(member).collect::<Option<_>>()?, at)
    }

    fn new(members: Vec<Member>, at: Span) -> Option<Self> {
        let mut members = members.into_iter();
        Some(Self { first: members.next()?, rest: members.collect(), at })
    }
}

fn index(text: &str, span: Span) -> Option<Index> {
    Some(Index { index: text.parse().ok()?, span })
}

/// Returns `text` as an identifier, a raw one if it is a keyword.
fn identifier(text: &str, span: Span) -> Option<Ident> {
    if text.contains(char::is_whitespace) {
        return None;
    }
    let mut name = syn::parse_str::<Ident>(text).or_else(|_| syn::parse_str(&format!("r#{text}"))).ok()?;
    name.set_span(span);
    Some(name)
}

/// Returns a field's name without `r#`.
pub(crate) fn spelled(member: &Member) -> String {
    match member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: Option<FieldPath>) -> Option<Vec<String>> {
        path.map(|path| std::iter::once(&path.first).chain(&path.rest).map(spelled).collect())
    }

    #[test]
    fn a_path_reads_the_same_as_tokens_and_as_text() {
        let cases = [
            ("user_id", Some(vec!["user_id"])),
            ("0", Some(vec!["0"])),
            ("order.customer", Some(vec!["order", "customer"])),
            ("0.1", Some(vec!["0", "1"])),
            ("order.0.id", Some(vec!["order", "0", "id"])),
            ("type", Some(vec!["type"])),
            ("user_id()", None),
            ("user id", None),
            ("order.", None),
            ("1u8", None),
            ("-1", None),
            ("a::b", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|parts| parts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(parts(FieldPath::from_tokens(&text.parse().unwrap())), expected, "{text}");
            assert_eq!(parts(FieldPath::from_text(text, Span::call_site())), expected, "{text}");
        }
    }
}
