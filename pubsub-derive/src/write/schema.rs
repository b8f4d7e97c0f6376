//! Writes the payload's JSON Schema, and a check that a strict channel has one.

use crate::check::channel::Channel;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;
use syn::spanned::Spanned as _;

/// The output that concerns the schema.
#[derive(Default)]
pub(crate) struct SchemaTokens {
    /// For the scope of the implementation.
    pub(crate) check: TokenStream,
    /// For the implementation itself.
    pub(crate) items: TokenStream,
}

/// Writes the schema of the type in `input`. An `unfit` type has none.
pub(crate) fn schema(input: &DeriveInput, channel: &Channel<'_>, unfit: bool) -> SchemaTokens {
    // Whether a generic type has a schema depends on its parameters.
    if unfit || !input.generics.params.is_empty() {
        return SchemaTokens::default();
    }
    let of = &input.ident;
    let probe = quote! {
        fn json_schema() -> ::core::option::Option<__pubsub::__private::serde_json::Value> {
            #[allow(unused_imports)]
            use __pubsub::__private::schema::{DerivedSchema as _, WithoutSchema as _};
            (&__pubsub::__private::schema::SchemaOf::<#of>(::core::marker::PhantomData)).json_schema()
        }
    };
    let strict = channel
        .strict
        .as_ref()
        .map(|word| quote_spanned!(word.span()=> const STRICT: ::core::primitive::bool = true;));
    let check = channel.strict.as_ref().map(|word| {
        // Errors point at the word, which needs the schema.
        let mut of = of.clone();
        of.set_span(of.span().located_at(word.span()));
        quote_spanned!(word.span()=> const _: () = __pubsub::__private::schema::strict_channel_has_schema::<#of>();)
    });
    SchemaTokens { check: check.into_iter().collect(), items: quote!(#strict #probe) }
}
