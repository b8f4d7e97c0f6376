//! Writes the implementation of `OlderVersion`.

use super::import::{import, name};
use super::upcast::{check_upcast, decode};
use crate::check::channel::Channel;
use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

pub(crate) fn older_version(
    input: &DeriveInput,
    channel: &Channel<'_>,
    shape: Option<&TokenStream>,
    lock: &TokenStream,
) -> TokenStream {
    let of = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let import = import(channel.krate.as_ref());
    let check = check_upcast(channel);
    let name = name(channel);
    let version = channel.version.unwrap_or(1);
    let decode = decode(
        channel,
        &quote!(
            __pubsub::__private::older_version::Readable::from_json(json)
                .map_err(__pubsub::__private::older_version::DecodeError::Json)
        ),
    );
    quote! {
        const _: () = {
            #import
            #shape
            #lock
            #check
            #[automatically_derived]
            impl #impl_generics __pubsub::OlderVersion for #of #ty_generics #where_clause {
                const NAME: &'static ::core::primitive::str = #name;
                const VERSION: ::core::primitive::u32 = #version;
                #decode
            }
        };
    }
}
