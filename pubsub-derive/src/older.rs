//! The derives beside `Channel`: `Shape`, and `OlderVersion`.

use crate::check::{self, Channel};
use crate::errors::Errors;
use crate::fields::Fields;
use crate::layout::Layout;
use crate::{attr, expand, lock, node};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

pub(crate) fn expand_shape(input: &DeriveInput) -> TokenStream {
    let Some(layout) = Layout::of(input) else {
        return syn::Error::new_spanned(
            &input.ident,
            "a union has no shape, because nothing says which field to write",
        )
        .into_compile_error();
    };
    let (import, shape) = (expand::import(None), node::implement(input, &layout));
    quote! {
        const _: () = {
            #import
            #shape
        };
    }
}

pub(crate) fn expand_older(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attr = attr::read(input, &mut errors);
    attr.refuse_delivery(&mut errors);
    if matches!(attr.version, crate::value::Setting::Unset) {
        errors.push(&input.ident, "nothing says which version this was\nadd `version = 1` after the name");
    }
    let fields = (!matches!(input.data, Data::Union(_))).then(|| Fields::new(input));
    let channel = check::check(attr, &input.ident, fields.as_ref(), &mut errors);
    let redacted =
        channel.redactions.iter().flat_map(|redaction| &redaction.fields).filter(|(_, redacted)| *redacted);
    for (field, _) in redacted {
        errors.push(
            field,
            "an older version is read, and never shown: its fields are not redacted\n\
             redact a field of the newest version, and what serde says of older ones is withheld too",
        );
    }
    let layout = Layout::of(input);
    let lock =
        layout.as_ref().map(|layout| lock::lock(input, &channel, layout, &mut errors)).unwrap_or_default();
    let implementation = implement(input, &channel, layout.as_ref(), &lock.inside);
    let (test, errors) = (lock.outside, errors.into_compile_errors());
    quote!(#implementation #test #errors)
}

fn implement(
    input: &DeriveInput,
    channel: &Channel<'_>,
    layout: Option<&Layout>,
    lock: &TokenStream,
) -> TokenStream {
    let of = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let import = expand::import(channel.krate.as_ref());
    let shape = layout.map(|layout| node::implement(input, layout));
    let check = expand::check_upcast(channel);
    let name = expand::name(channel);
    let version = channel.version.unwrap_or(1);
    let decode = expand::decode(
        channel,
        &quote!(
            __pubsub::__private::older_version::Readable::from_json(json)
                .map_err(__pubsub::__private::older_version::Unreadable::Json)
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
