//! Writes a type's shape as a constant, and the implementation of `Shape` around it.

use crate::read::layout::{Content, MemberLayout, TypeLayout};
use crate::read::serde_attrs::spelled;
use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

/// Writes `impl Shape`, for a scope in which `__pubsub` is imported.
pub(crate) fn shape(input: &DeriveInput, layout: &TypeLayout) -> TokenStream {
    let of = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let shape = type_shape(layout, Some(&of.to_string()));
    // A static may contain its own address, and a constant may not. A generic type cannot have a static, so its fields whose
    // types depend on its parameters are recorded by name only.
    let (definition, value) = if input.generics.params.is_empty() {
        (
            quote!(static __SHAPE: __pubsub::__private::shape::TypeShape = #shape;),
            quote!(__pubsub::__private::shape::ShapeRef::to(&__SHAPE)),
        )
    } else {
        (TokenStream::new(), quote!(__pubsub::__private::shape::ShapeRef::to(&#shape)))
    };
    quote! {
        #[allow(unused_imports)]
        use __pubsub::__private::shape::WithoutShape as _;
        #definition
        #[automatically_derived]
        impl #impl_generics __pubsub::Shape for #of #ty_generics #where_clause {
            const SHAPE: __pubsub::__private::shape::ShapeRef = #value;
        }
    }
}

/// Writes the shape of a type. It has a `name` if it can contain itself.
fn type_shape(layout: &TypeLayout, name: Option<&str>) -> TokenStream {
    let TypeLayout { kind, serde, members } = layout;
    let id = match name {
        Some(name) => quote!(__pubsub::__private::shape::type_id(::core::concat!(
            ::core::module_path!(), #name, ::core::line!(), ":", ::core::column!()
        ))),
        None => quote!(0),
    };
    let members = members.iter().map(member);
    quote! {
        __pubsub::__private::shape::TypeShape {
            id: #id, kind: #kind, serde: &[#(#serde),*], members: &[#(#members),*]
        }
    }
}

fn member(member: &MemberLayout) -> TokenStream {
    let MemberLayout { name, serde, content, .. } = member;
    let (shape, type_name) = match content {
        Content::Field { ty, is_concrete: true } => {
            (quote!(<__pubsub::__private::shape::ShapeOf<#ty>>::SHAPE), spelled(ty.clone()))
        }
        Content::Field { ty, is_concrete: false } => {
            (quote!(::core::option::Option::None), spelled(ty.clone()))
        }
        Content::Variant(layout) => {
            let shape = type_shape(layout, None);
            let reference = quote!(__pubsub::__private::shape::ShapeRef::to(&#shape));
            (quote!(::core::option::Option::Some(#reference)), String::new())
        }
    };
    quote! {
        __pubsub::__private::shape::Member {
            name: #name, serde: &[#(#serde),*], shape: #shape, type_name: #type_name
        }
    }
}
