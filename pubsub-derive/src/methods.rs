//! Writes the methods of `Channel` that look into an event: its keys, and its `Debug` without the redacted fields.

use crate::fields::Access;
use crate::keys::{Keys, Part};
use crate::redact::Redaction;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{Ident, Member};

/// `key` and `dedupe_key`, as far as the attribute says something about them.
pub(crate) fn keys(keys: &Keys<'_>) -> TokenStream {
    let key = keys.key.as_ref().map(|access| method("key", &as_key(access)));
    let dedupe = keys.dedupe.as_ref().map(|parts| {
        let value = match parts.as_slice() {
            [Part::Field(access)] => as_key(access),
            parts => {
                let parts = parts.iter().map(part);
                quote!(__pubsub::__private::key::joined([#(#parts),*]))
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

fn part(part: &Part<'_>) -> TokenStream {
    match part {
        Part::Text(text) => quote!(__pubsub::__private::key::text(#text)),
        Part::Field(access) => as_key(access),
    }
}

/// The field as a key. Its own tokens have the span of the user's, so that what the compiler says of its type is said there.
fn as_key(access: &Access<'_>) -> TokenStream {
    let Access { members, rest, at } = access;
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

/// `REDACTED` and `fmt_payload`, if a field is redacted.
pub(crate) fn redacted(of: &Ident, redactions: &[Redaction<'_>]) -> Option<TokenStream> {
    if redactions.is_empty() {
        return None;
    }
    let names = redactions.iter().flat_map(Redaction::names);
    let arms = redactions.iter().map(|redaction| arm(of, redaction));
    Some(quote! {
        const REDACTED: &'static [&'static ::core::primitive::str] = &[#(#names),*];
        fn fmt_payload(&self, __f: &mut __pubsub::__private::fmt::Formatter<'_>) -> __pubsub::__private::fmt::Result {
            #[allow(unused_imports)]
            use __pubsub::__private::redact::Hidden as _;
            match self { #(#arms),* }
        }
    })
}

/// Shows one variant, or the struct.
fn arm(of: &Ident, redaction: &Redaction<'_>) -> TokenStream {
    let Redaction { variant, fields } = redaction;
    let name = variant.unwrap_or(of).unraw().to_string();
    let path = match variant {
        Some(variant) => quote!(Self::#variant),
        None => quote!(Self),
    };
    let shown = |place: usize| format_ident!("__{place}");
    let patterns = fields.iter().enumerate().map(|(place, (member, redacted))| {
        let shown = shown(place);
        if *redacted { quote!(#member: _) } else { quote!(#member: #shown) }
    });
    let is_tuple = fields.first().is_some_and(|(member, _)| matches!(member, Member::Unnamed(_)));
    let calls = fields.iter().enumerate().map(|(place, (member, redacted))| {
        let shown = shown(place);
        let value = match redacted {
            true => quote!(&__pubsub::__private::redact::Redacted),
            false => quote!(__pubsub::__private::redact::Beside(#shown).shown()),
        };
        match member {
            Member::Named(field) => {
                let field = field.unraw().to_string();
                quote!(.field(#field, #value))
            }
            Member::Unnamed(_) => quote!(.field(#value)),
        }
    });
    let begin = if is_tuple { quote!(debug_tuple) } else { quote!(debug_struct) };
    quote!(#path { #(#patterns),* } => __f.#begin(#name) #(#calls)* .finish())
}
