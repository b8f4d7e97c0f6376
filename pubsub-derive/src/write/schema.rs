//! Writes where the payload's JSON Schema comes from, and checks that a strict channel has one.

use crate::check::channel::Channel;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;
use syn::spanned::Spanned as _;

/// What the implementation has for the schema.
#[derive(Default)]
pub(crate) struct Written {
    /// Beside the implementation.
    pub(crate) check: TokenStream,
    /// Inside of it.
    pub(crate) method: TokenStream,
}

/// The code for `input`. An `unfit` type has no schema to look for.
pub(crate) fn of(input: &DeriveInput, channel: &Channel<'_>, unfit: bool) -> Written {
    // Whether a type with parameters has a schema depends on them.
    if unfit || !input.generics.params.is_empty() {
        return Written::default();
    }
    let of = &input.ident;
    let probe = quote! {
        fn json_schema() -> ::core::option::Option<__pubsub::__private::Value> {
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
        // Reported on the word, which is what asks for a schema.
        let mut of = of.clone();
        of.set_span(of.span().located_at(word.span()));
        quote_spanned!(word.span()=> const _: () = __pubsub::__private::schema::strict_channel_has_schema::<#of>();)
    });
    Written { check: check.into_iter().collect(), method: quote!(#strict #probe) }
}
