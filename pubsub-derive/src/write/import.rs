//! Writes the import of `pubsub` and the channel's name, which several implementations share.

use crate::check::channel::Channel;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned as _;

/// Stands for a name that was refused. It is never used, because the build has failed.
const FALLBACK_NAME: &str = "invalid";

/// Writes the import of `pubsub` as `__pubsub`. With a single import, a wrong path is a single error, on the path.
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

/// Writes the channel's name.
pub(crate) fn name(channel: &Channel<'_>) -> TokenStream {
    match &channel.name {
        Some(name) => quote!(#name),
        None => quote!(#FALLBACK_NAME),
    }
}
