//! Writes the shape of a type down as a constant, and the implementation of `Shape` around it.

use crate::read::layout::{Content, Layout, Part};
use crate::read::serde_attrs;
use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

/// `impl Shape`, for where `__pubsub` is imported.
pub(crate) fn implement(input: &DeriveInput, layout: &Layout) -> TokenStream {
    let of = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let node = node(layout, Some(&of.to_string()));
    // A static may lead back to itself, by way of its address, and a constant may not. But a static is of one type only, so
    // of a generic one nothing is looked into that depends on its parameters.
    let (definition, value) = if input.generics.params.is_empty() {
        (
            quote!(static __SHAPE: __pubsub::__private::shape::Node = #node;),
            quote!(__pubsub::__private::shape::Link::to(&__SHAPE)),
        )
    } else {
        (TokenStream::new(), quote!(__pubsub::__private::shape::Link::to(&#node)))
    };
    quote! {
        #[allow(unused_imports)]
        use __pubsub::__private::shape::Opaque as _;
        #definition
        #[automatically_derived]
        impl #impl_generics __pubsub::Shape for #of #ty_generics #where_clause {
            const NODE: __pubsub::__private::shape::Link = #value;
        }
    }
}

/// A node; `named` if the type can come back to itself.
fn node(layout: &Layout, named: Option<&str>) -> TokenStream {
    let Layout { kind, serde, parts } = layout;
    let id = match named {
        Some(name) => quote!(__pubsub::__private::shape::identity(::core::concat!(
            ::core::module_path!(), #name, ::core::line!(), ":", ::core::column!()
        ))),
        None => quote!(0),
    };
    let parts = parts.iter().map(part);
    quote!(__pubsub::__private::shape::Node { id: #id, kind: #kind, serde: &[#(#serde),*], parts: &[#(#parts),*] })
}

fn part(part: &Part) -> TokenStream {
    let Part { name, serde, content, .. } = part;
    let (node, written) = match content {
        Content::Field { ty, concrete: true } => {
            (quote!(<__pubsub::__private::shape::Probe<#ty>>::NODE), serde_attrs::written(ty.clone()))
        }
        Content::Field { ty, concrete: false } => {
            (quote!(::core::option::Option::None), serde_attrs::written(ty.clone()))
        }
        Content::Variant(layout) => {
            let node = node(layout, None);
            (
                quote!(::core::option::Option::Some(__pubsub::__private::shape::Link::to(&#node))),
                String::new(),
            )
        }
    };
    quote!(__pubsub::__private::shape::Part { name: #name, serde: &[#(#serde),*], node: #node, written: #written })
}
