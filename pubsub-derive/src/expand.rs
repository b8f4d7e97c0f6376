//! Writes the implementation of `Channel`, also after an error: then as a fallback that keeps the error alone.

use crate::check::{Backoff, Channel, Upcast};
use crate::methods;
use crate::wire;
use crate::{schema, unique};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use std::time::Duration;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Path, parse_quote};

/// The name of a channel whose own was refused. Nobody runs it: the build has failed.
const FALLBACK_NAME: &str = "invalid";

/// The implementation for `input`. `unfit` is the error that says that the type cannot be a payload at all.
pub(crate) fn expand(
    input: &DeriveInput,
    channel: &Channel<'_>,
    unfit: Option<&TokenStream>,
    shape: Option<&TokenStream>,
) -> TokenStream {
    let of = &input.ident;
    let (_, ty_generics, _) = input.generics.split_for_impl();
    // The type as the user wrote it, so that what is wrong with it is reported there.
    let ty = quote_spanned!(of.span()=> #of #ty_generics);
    let mut generics = input.generics.clone();
    let clause = generics.make_where_clause();
    if input.generics.type_params().next().is_some() {
        // Whether it is a payload depends on its parameters.
        clause.predicates.push(parse_quote!(#ty: __pubsub::schema::Payload));
    }
    let silence = unfit.map(silence);
    if silence.is_some() {
        clause.predicates.push(parse_quote!(__Silence: __pubsub::schema::Payload));
    }
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let import = import(channel.krate.as_ref());
    let consts = consts(channel);
    // What looks into a type that is unfit would only repeat that it is.
    let methods = unfit.is_none().then(|| {
        let keys = methods::keys(&channel.keys);
        let redacted = methods::redacted(of, &channel.redactions);
        quote!(#keys #redacted)
    });
    let upcast = check_upcast(channel);
    let (fingerprint, decode) = (
        shape.map(|_| fingerprint()),
        decode(
            channel,
            &quote!(
                __pubsub::schema::Payload::from_json(json)
                    .map_err(__pubsub::__private::older_version::Unreadable::Json)
            ),
        ),
    );
    let schema::Written { check, method } = schema::of(input, channel, unfit.is_some());
    let unique = match (&channel.name, unfit) {
        (Some(name), None) => unique::name(input, name),
        _ => TokenStream::new(),
    };
    quote! {
        const _: () = {
            #import
            #silence
            #shape
            #unique
            #upcast
            #check
            #[automatically_derived]
            impl #impl_generics __pubsub::Channel for #ty #where_clause {
                #consts
                #methods
                #fingerprint
                #decode
                #method
            }
        };
    }
}

/// Keeps the error of a type that is `unfit` to be a payload from being followed by the compiler's own words for it.
///
/// `__Silence` is the item of an array whose length is that error, so it is of no known type. The compiler then takes
/// `__Silence: Payload` for a bound on any type, also on this one, and says nothing more.
fn silence(unfit: &TokenStream) -> TokenStream {
    quote! {
        const __LENGTH: ::core::primitive::usize = #unfit;
        type __Silence = <[(); __LENGTH] as ::core::iter::IntoIterator>::Item;
    }
}

/// `pubsub` under the name the implementation uses. One import, so that a wrong path is one error, on the path.
pub(crate) fn import(krate: Option<&Path>) -> TokenStream {
    match krate {
        None => quote!(
            use ::pubsub as __pubsub;
        ),
        Some(path) => {
            let span = Span::call_site().located_at(path.span());
            quote_spanned!(span=> use #path as __pubsub;)
        }
    }
}

/// The channel's name.
pub(crate) fn name(channel: &Channel<'_>) -> TokenStream {
    match &channel.name {
        Some(name) => quote!(#name),
        None => quote!(#FALLBACK_NAME),
    }
}

/// The constants that the attributes set; the trait has a default for every other.
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
    let timeout = channel.timeout.map(|timeout| {
        let value = duration_value(timeout);
        quote! {
            const TIMEOUT: ::core::option::Option<__pubsub::__private::Duration> =
                ::core::option::Option::Some(#value);
        }
    });
    let retention = channel.retention.map(|retention| {
        let value = match retention.map(duration_value) {
            Some(value) => quote!(::core::option::Option::Some(#value)),
            None => quote!(::core::option::Option::None),
        };
        quote! {
            const RETENTION: ::core::option::Option<::core::option::Option<__pubsub::__private::Duration>> =
                ::core::option::Option::Some(#value);
        }
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
        #timeout
        #retention
        #ordered
    }
}

fn fingerprint() -> TokenStream {
    quote! {
        const FINGERPRINT: ::core::primitive::u64 =
            __pubsub::__private::shape::fingerprint(<Self as __pubsub::Shape>::NODE);
    }
}

/// Reads older versions, where the type says how; `own` reads its own.
pub(crate) fn decode(channel: &Channel<'_>, own: &TokenStream) -> Option<TokenStream> {
    let Upcast::From(before) = &channel.upcast else { return None };
    let version = channel.version.unwrap_or(2);
    let from = upcast(before, version);
    Some(quote! {
        fn decode(
            version: ::core::primitive::u32,
            json: &[::core::primitive::u8],
        ) -> ::core::result::Result<Self, __pubsub::__private::older_version::Unreadable> {
            if version < #version {
                #from
            }
            #own
        }
    })
}

/// Fails the build if what `upcast_from` names is of another channel, or not older.
pub(crate) fn check_upcast(channel: &Channel<'_>) -> Option<TokenStream> {
    let Upcast::From(before) = &channel.upcast else { return None };
    let (name, version) = (name(channel), channel.version.unwrap_or(2));
    let written = wire::written(before.to_token_stream());
    let another = format!("`{written}` is an older version of another channel");
    let newer = format!(
        "`{written}` is not older than version {version}\nname what the payload was before that, with a lower `version`"
    );
    let span = Span::call_site().located_at(before.span());
    Some(quote_spanned! {span=>
        const _: () = {
            #[allow(unused_imports)]
            use __pubsub::__private::older_version::PlainBefore as _;
            const __OLDER: ::core::option::Option<(&::core::primitive::str, ::core::primitive::u32)> =
                <__pubsub::__private::older_version::Before<#before>>::OLDER;
            ::core::assert!(__pubsub::__private::older_version::is_same_channel(__OLDER, #name), #another);
            ::core::assert!(__pubsub::__private::older_version::is_older(__OLDER, #version), #newer);
        };
    })
}

/// Returns what is read as the version `before` `version`. What is missing of it is reported on its name.
fn upcast(before: &Path, version: u32) -> TokenStream {
    let span = Span::call_site().located_at(before.span());
    quote_spanned! {span=>
        #[allow(unused_imports)]
        use __pubsub::__private::older_version::PlainBefore as _;
        let read = <__pubsub::__private::older_version::Before<#before>>::decode(version, json, #version)?;
        return ::core::result::Result::Ok(<Self as __pubsub::__private::older_version::UpcastFrom<#before>>::upcast(read));
    }
}

/// What is not set is asked of the default, so that its numbers stand in one place.
fn backoff_value(backoff: &Backoff) -> TokenStream {
    let of_default = |getter: TokenStream| quote!(__pubsub::Backoff::DEFAULT.#getter());
    let initial = backoff.initial.map_or_else(|| of_default(quote!(initial)), duration_value);
    let factor = backoff.factor.map_or_else(|| of_default(quote!(factor)), |value| quote!(#value));
    let max = backoff.max.map_or_else(|| of_default(quote!(max)), duration_value);
    let jitter = backoff.jitter.map_or_else(|| of_default(quote!(jitter)), |value| quote!(#value));
    quote!(__pubsub::Backoff::new(#initial, #factor, #max, #jitter))
}

fn duration_value(value: Duration) -> TokenStream {
    let nanos = u64::try_from(value.as_nanos()).expect("a duration is at most 500 years");
    quote!(__pubsub::__private::Duration::from_nanos(#nanos))
}
