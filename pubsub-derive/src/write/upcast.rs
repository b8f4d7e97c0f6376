//! Writes the code that reads events of older versions.

use super::import::name;
use crate::check::channel::{Channel, Upcast};
use crate::read::serde_attrs::spelled;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned as _;

/// Writes `decode`, if the type has an older version. `own` reads the type's own version.
pub(crate) fn decode(channel: &Channel<'_>, own: &TokenStream) -> Option<TokenStream> {
    let Upcast::From(before) = &channel.upcast else { return None };
    let version = channel.version.unwrap_or(2);
    let from = upcast(before, version);
    Some(quote! {
        fn decode(
            version: ::core::primitive::u32,
            json: &[::core::primitive::u8],
        ) -> ::core::result::Result<Self, __pubsub::__private::older_version::DecodeError> {
            if version < #version {
                #from
            }
            #own
        }
    })
}

/// Writes a check that the type in `upcast_from` belongs to this channel and is older.
pub(crate) fn check_upcast(channel: &Channel<'_>) -> Option<TokenStream> {
    let Upcast::From(before) = &channel.upcast else { return None };
    let (name, version) = (name(channel), channel.version.unwrap_or(2));
    let source = spelled(before.to_token_stream());
    let another = format!("`{source}` is an older version of another channel");
    let newer = format!("`{source}` is not older than version {version}\nname a type with a lower `version`");
    let span = Span::call_site().located_at(before.span());
    Some(quote_spanned! {span=>
        const _: () = {
            #[allow(unused_imports)]
            use __pubsub::__private::older_version::UpcastFromPlain as _;
            const __OLDER: ::core::option::Option<(&::core::primitive::str, ::core::primitive::u32)> =
                <__pubsub::__private::older_version::UpcastSource<#before>>::OLDER;
            ::core::assert!(__pubsub::__private::older_version::is_same_channel(__OLDER, #name), #another);
            ::core::assert!(__pubsub::__private::older_version::is_older(__OLDER, #version), #newer);
        };
    })
}

/// Writes the conversion from the type `before`. If it lacks a trait, the error is on its name.
fn upcast(before: &Path, version: u32) -> TokenStream {
    let span = Span::call_site().located_at(before.span());
    quote_spanned! {span=>
        #[allow(unused_imports)]
        use __pubsub::__private::older_version::UpcastFromPlain as _;
        let read = <__pubsub::__private::older_version::UpcastSource<#before>>::decode(version, json, #version)?;
        return ::core::result::Result::Ok(<Self as __pubsub::__private::older_version::UpcastFrom<#before>>::upcast(read));
    }
}
