//! Writes what every implementation begins with: the import of `pubsub`, and the channel's name.

use crate::check::channel::Channel;
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned as _;

/// The name of a channel whose own was refused. Nobody runs it: the build has failed.
const FALLBACK_NAME: &str = "invalid";

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
