//! Writes `Channel::key` and `Channel::dedupe_key`.

use crate::check::field_access::FieldAccess;
use crate::check::keys::{DedupePiece, Keys};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

/// Writes `key` and `dedupe_key`, if the attribute sets them.
pub(crate) fn keys(keys: &Keys<'_>) -> TokenStream {
    let key = keys.key.as_ref().map(|access| method("key", &as_key(access)));
    let dedupe = keys.dedupe.as_ref().map(|pieces| {
        let value = match pieces.as_slice() {
            [DedupePiece::Field(access)] => as_key(access),
            pieces => {
                let marks = separators(pieces);
                let pieces = pieces.iter().map(|piece| self::piece(piece, &marks));
                quote!(__pubsub::__private::key::join([#(#pieces),*]))
            }
        };
        method("dedupe_key", &value)
    });
    quote!(#key #dedupe)
}

fn method(name: &str, value: &TokenStream) -> TokenStream {
    let name = Ident::new(name, Span::call_site());
    quote! {
        fn #name(&self) -> ::core::option::Option<::std::borrow::Cow<'_, ::core::primitive::str>> {
            #value
        }
    }
}

/// Returns the characters of the texts between the fields.
fn separators(pieces: &[DedupePiece<'_>]) -> String {
    let texts = pieces.iter().filter_map(|piece| match piece {
        DedupePiece::Text(text) => Some(text.as_str()),
        DedupePiece::Field(_) => None,
    });
    texts.collect()
}

fn piece(piece: &DedupePiece<'_>, marks: &str) -> TokenStream {
    match piece {
        DedupePiece::Text(text) => quote!(__pubsub::__private::key::text(#text)),
        DedupePiece::Field(access) => {
            let field = as_key(access);
            quote!(__pubsub::__private::key::escaped(#field, #marks))
        }
    }
}

/// Writes the field as a key, with the span of the user's tokens, so that errors about its type point there.
fn as_key(access: &FieldAccess<'_>) -> TokenStream {
    let FieldAccess { members, rest, at } = access;
    let at = Span::call_site().located_at(*at);
    let rest = rest.iter().map(|member| quote_spanned!(at=> .#member));
    let rest = quote!(#(#rest)*);
    if let [(None, member)] = members.as_slice() {
        let place = quote_spanned!(at=> &self.#member #rest);
        return quote!(__pubsub::__private::key::AsKey::as_key(#place));
    }
    let arms = members.iter().map(|(variant, member)| {
        let field = Ident::new("__field", at);
        let place = match rest.is_empty() {
            true => quote!(#field),
            false => quote_spanned!(at=> &#field #rest),
        };
        quote!(Self::#variant { #member: #field, .. } => __pubsub::__private::key::AsKey::as_key(#place))
    });
    quote!(match self { #(#arms),* })
}
