//! Turns a doc comment into a description: one line per paragraph.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// Returns the doc comment of `attrs`: lines joined by a space, paragraphs by an empty line. Empty without a comment.
pub(crate) fn description(attrs: &[Attribute]) -> String {
    let comment: Vec<String> = attrs.iter().filter_map(text).collect();
    let lines = comment.iter().flat_map(|text| lines(text));
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    for line in lines {
        match paragraphs.last_mut() {
            Some(paragraph) if !line.is_empty() => paragraph.push(line),
            _ => paragraphs.push(Vec::new()),
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    let joined: Vec<String> = paragraphs.iter().map(|paragraph| paragraph.join(" ")).collect();
    joined.join("\n\n")
}

/// Returns the text of one `///` line or `/** */` block. Text that only the compiler can read, such as
/// `#[doc = include_str!("..")]`, is not part of the description.
fn text(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attr.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}

/// Returns the lines of one attribute, trimmed, without the column of stars that a block comment may have.
fn lines(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    let starred = lines.len() > 1 && lines[1..].iter().all(|line| line.is_empty() || line.starts_with('*'));
    let star = if starred { "*" } else { "" };
    lines.into_iter().map(|line| line.strip_prefix(star).unwrap_or(line).trim()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn of(tokens: &proc_macro2::TokenStream) -> String {
        let input: syn::DeriveInput = syn::parse2(quote!(#tokens struct S;)).unwrap();
        description(&input.attrs)
    }

    #[test]
    fn lines_are_joined_and_paragraphs_kept() {
        let comment = quote! {
            #[doc = " Sent when an order"]
            #[doc = " is paid.  "]
            #[doc = ""]
            #[doc = " Not sent for refunds."]
            #[doc(hidden)]
            #[doc = include_str!("x.md")]
        };
        assert_eq!(of(&comment), "Sent when an order is paid.\n\nNot sent for refunds.");
    }

    #[test]
    fn a_block_comment_loses_its_stars() {
        assert_eq!(of(&quote!(#[doc = "\n * One\n * two.\n *\n * *Three*.\n "])), "One two.\n\n*Three*.");
        assert_eq!(of(&quote!(#[doc = " *Stressed* word. "])), "*Stressed* word.");
    }

    #[test]
    fn no_comment_is_no_description() {
        assert_eq!(of(&quote!()), "");
        assert_eq!(of(&quote!(#[doc = " "])), "");
    }
}
