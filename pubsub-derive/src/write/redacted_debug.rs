//! Writes the `Debug` output of an event without its redacted fields.

use crate::read::redaction::Redaction;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Ident, Member};

/// Writes `REDACTED` and `fmt_payload`, if a field is redacted.
pub(crate) fn redacted(of: &Ident, redactions: &[Redaction<'_>]) -> Option<TokenStream> {
    if redactions.is_empty() {
        return None;
    }
    let names = redactions.iter().flat_map(Redaction::names);
    let arms = redactions.iter().map(|redaction| arm(of, redaction));
    Some(quote! {
        const REDACTED: &'static [&'static ::core::primitive::str] = &[#(#names),*];
        fn fmt_payload(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            #[allow(unused_imports)]
            use __pubsub::__private::redact::WithoutDebug as _;
            match self { #(#arms),* }
        }
    })
}

/// Writes the output of one variant, or of the struct.
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
            false => quote!(__pubsub::__private::redact::Field(#shown).as_debug()),
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
