//! Writes `Channel::key` and `Channel::dedupe_key`.

use crate::check::field_access::FieldAccess;
use crate::check::keys::{DedupePiece, Keys};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

/// `key` and `dedupe_key`, as far as the attribute says something about them.
pub(crate) fn keys(keys: &Keys<'_>) -> TokenStream {
    let key = keys.key.as_ref().map(|access| method("key", &as_key(access)));
    let dedupe = keys.dedupe.as_ref().map(|parts| {
        let value = match parts.as_slice() {
            [DedupePiece::Field(access)] => as_key(access),
            parts => {
                let parts = parts.iter().map(piece);
                quote!(__pubsub::__private::key::join([#(#parts),*]))
            }
        };
        method("dedupe_key", &value)
    });
    quote!(#key #dedupe)
}

fn method(name: &str, value: &TokenStream) -> TokenStream {
    let name = Ident::new(name, Span::call_site());
    quote! {
        fn #name(&self) -> ::core::option::Option<__pubsub::__private::Cow<'_, ::core::primitive::str>> {
            #value
        }
    }
}

fn piece(piece: &DedupePiece<'_>) -> TokenStream {
    match piece {
        DedupePiece::Text(text) => quote!(__pubsub::__private::key::text(#text)),
        DedupePiece::Field(access) => as_key(access),
    }
}

/// The field as a key. Its own tokens have the span of the user's, so that what the compiler says of its type is said there.
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
