//! The derives, each from its input to its output: read, check, write.

use crate::check::{channel, older_version, payload_type};
use crate::errors::Errors;
use crate::read::channel_attr;
use crate::read::fields::Fields;
use crate::read::layout::TypeLayout;
use crate::{lock_file, write};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

/// Expands `#[derive(Channel)]`.
pub(crate) fn channel(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attr = channel_attr::read(input, &mut errors);
    let fields = fields(input);
    let channel = channel::check(attr, input, fields.as_ref(), &mut errors);
    let mut unfit = payload_type::check(input);
    let layout = if unfit.is_empty() { TypeLayout::of(input) } else { None };
    let lock_file = layout
        .as_ref()
        .map(|layout| lock_file::check(input, &channel, layout, &mut errors))
        .unwrap_or_default();
    let shape = layout.map(|layout| {
        let (shape, checks) = (write::shape::shape(input, &layout), &lock_file.checks);
        quote!(#shape #checks)
    });
    let mut tokens = write::channel::channel(input, &channel, unfit.take_first().as_ref(), shape.as_ref());
    tokens.extend(lock_file.test);
    tokens.extend(errors.into_compile_errors());
    tokens.extend(unfit.into_compile_errors());
    tokens
}

/// Expands `#[derive(OlderVersion)]`.
pub(crate) fn older_version(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attr = channel_attr::read(input, &mut errors);
    older_version::check_attr(&attr, &input.ident, &mut errors);
    let fields = fields(input);
    let channel = channel::check(attr, input, fields.as_ref(), &mut errors);
    older_version::check_redactions(&channel.redactions, &mut errors);
    let layout = TypeLayout::of(input);
    let lock_file = layout
        .as_ref()
        .map(|layout| lock_file::check(input, &channel, layout, &mut errors))
        .unwrap_or_default();
    let shape = layout.map(|layout| write::shape::shape(input, &layout));
    let mut tokens = write::older_version::older_version(input, &channel, shape.as_ref(), &lock_file.checks);
    tokens.extend(lock_file.test);
    tokens.extend(errors.into_compile_errors());
    tokens
}

/// Expands `#[derive(Shape)]`.
pub(crate) fn shape(input: &DeriveInput) -> TokenStream {
    let Some(layout) = TypeLayout::of(input) else {
        return syn::Error::new_spanned(
            &input.ident,
            "a union has no shape, because serde cannot tell which field to write",
        )
        .into_compile_error();
    };
    let (import, shape) = (write::import::import(None), write::shape::shape(input, &layout));
    quote! {
        const _: () = {
            #import
            #shape
        };
    }
}

/// Returns the fields that attributes can name. A union has none: it is refused as a whole.
fn fields(input: &DeriveInput) -> Option<Fields<'_>> {
    (!matches!(input.data, Data::Union(_))).then(|| Fields::new(input))
}
