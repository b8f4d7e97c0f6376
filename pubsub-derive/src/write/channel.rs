//! Writes the implementation of `Channel`. After an error it is a fallback, so that the compiler reports nothing else.

use super::import::{import, name};
use super::upcast::{check_upcast, decode};
use super::{channel_name, keys, redacted_debug, schema};
use crate::check::backoff::Backoff;
use crate::check::channel::Channel;
use crate::check::retention::Retention;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use std::time::Duration;
use syn::{DeriveInput, parse_quote};

/// Writes the implementation for the type in `input`. `unfit` is the error for a type that cannot be a payload.
pub(crate) fn channel(
    input: &DeriveInput,
    channel: &Channel<'_>,
    unfit: Option<&TokenStream>,
    shape: Option<&TokenStream>,
) -> TokenStream {
    let of = &input.ident;
    let (_, ty_generics, _) = input.generics.split_for_impl();
    // With the span of the user's type, at which errors about it are reported.
    let ty = quote_spanned!(of.span()=> #of #ty_generics);
    let mut generics = input.generics.clone();
    let clause = generics.make_where_clause();
    if input.generics.type_params().next().is_some() {
        // Whether a generic type is a payload depends on its parameters.
        clause.predicates.push(parse_quote!(#ty: __pubsub::schema::Payload));
    }
    let silence = unfit.map(silence);
    if silence.is_some() {
        clause.predicates.push(parse_quote!(__Silence: __pubsub::schema::Payload));
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let import = import(channel.krate.as_ref());
    let consts = consts(channel);
    // Code that uses the fields of an unfit type would only repeat the error.
    let methods = unfit.is_none().then(|| {
        let keys = keys::keys(&channel.keys);
        let redacted = redacted_debug::redacted(of, &channel.redactions);
        quote!(#keys #redacted)
    });
    let upcast = check_upcast(channel);
    let (fingerprint, decode) = (
        shape.map(|_| fingerprint()),
        decode(
            channel,
            &quote!(
                __pubsub::schema::Payload::from_json(json)
                    .map_err(__pubsub::__private::older_version::DecodeError::Json)
            ),
        ),
    );
    let schema::SchemaTokens { check, items } = schema::schema(input, channel, unfit.is_some());
    let name_check = match (&channel.name, unfit) {
        (Some(name), None) => channel_name::channel_name(input, name),
        _ => TokenStream::new(),
    };
    quote! {
        const _: () = {
            #import
            #silence
            #shape
            #name_check
            #upcast
            #check
            #[automatically_derived]
            impl #impl_generics __pubsub::Channel for #ty #where_clause {
                #consts
                #methods
                #fingerprint
                #decode
                #items
            }
        };
    }
}

/// Writes the error of an `unfit` type, in a way that keeps the compiler from adding its own.
///
/// `__Silence` is the item of an array whose length is that error, so its type is unknown. The compiler then takes
/// `__Silence: Payload` for a bound on any type, and reports no missing `Payload`.
fn silence(unfit: &TokenStream) -> TokenStream {
    quote! {
        const __LENGTH: ::core::primitive::usize = #unfit;
        type __Silence = <[(); __LENGTH] as ::core::iter::IntoIterator>::Item;
    }
}

/// Writes the constants that the attributes set. The trait has a default for every other.
fn consts(channel: &Channel<'_>) -> TokenStream {
    let name = name(channel);
    let description = (!channel.description.is_empty()).then(|| {
        let text = &channel.description;
        quote!(const DESCRIPTION: &'static ::core::primitive::str = #text;)
    });
    let version = channel.version.map(|value| quote!(const VERSION: ::core::primitive::u32 = #value;));
    let max_attempts =
        channel.max_attempts.map(|value| quote!(const MAX_ATTEMPTS: ::core::primitive::u32 = #value;));
    let backoff = channel.backoff.as_ref().map(|backoff| {
        let value = backoff_value(backoff);
        quote!(const BACKOFF: __pubsub::Backoff = #value;)
    });
    let max_panics =
        channel.max_panics.map(|value| quote!(const MAX_PANICS: ::core::primitive::u32 = #value;));
    let max_crashes =
        channel.max_crashes.map(|value| quote!(const MAX_CRASHES: ::core::primitive::u32 = #value;));
    let timeout = channel.timeout.map(|timeout| {
        let value = duration_value(timeout);
        quote! {
            const TIMEOUT: ::core::option::Option<::core::time::Duration> =
                ::core::option::Option::Some(#value);
        }
    });
    let retention = channel.retention.as_ref().map(|retention| {
        let value = match retention {
            Retention::For(duration) => {
                let value = duration_value(*duration);
                quote!(__pubsub::Retention::For(#value))
            }
            Retention::Forever => quote!(__pubsub::Retention::Forever),
        };
        quote!(const RETENTION: __pubsub::Retention = #value;)
    });
    let ordered = channel.keys.ordered.then(|| {
        quote!(
            const ORDERED: ::core::primitive::bool = true;
        )
    });
    quote! {
        const NAME: &'static ::core::primitive::str = #name;
        #description
        #version
        #max_attempts
        #backoff
        #max_panics
        #max_crashes
        #timeout
        #retention
        #ordered
    }
}

fn fingerprint() -> TokenStream {
    quote! {
        const FINGERPRINT: ::core::primitive::u64 =
            __pubsub::__private::shape::fingerprint(<Self as __pubsub::Shape>::SHAPE);
    }
}

/// Writes the backoff. The values that are not set are those of the default.
fn backoff_value(backoff: &Backoff) -> TokenStream {
    let begin = match backoff.initial.map(duration_value) {
        Some(initial) => quote!(__pubsub::Backoff::exponential(#initial)),
        None => quote!(__pubsub::Backoff::DEFAULT),
    };
    let factor = backoff.factor.map(|value| quote!(.factor(#value)));
    let max = backoff.max.map(duration_value).map(|value| quote!(.max(#value)));
    let jitter = backoff.jitter.map(|value| quote!(.jitter(#value)));
    quote!(#begin #factor #max #jitter)
}

fn duration_value(value: Duration) -> TokenStream {
    let nanos = u64::try_from(value.as_nanos()).expect("a duration is at most 500 years");
    quote!(::core::time::Duration::from_nanos(#nanos))
}
