//! Writes a check that no other payload type has the channel's name, in this crate or in any that it uses.
//!
//! The name becomes a type, with an implementation that names the payload. The check lets the compiler infer the payload
//! from the name. With two payloads it cannot, and its error shows both.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::{DeriveInput, LitStr};

/// Writes the check for the channel `name`, and the name as a type for `routes!`.
pub(crate) fn channel_name(input: &DeriveInput, name: &LitStr) -> TokenStream {
    let of = &input.ident;
    let (impl_generics, ty_generics, where_clause) = input.generics.split_for_impl();
    let letters: Vec<Literal> = name.value().chars().map(Literal::character).collect();
    let check = quote_spanned! {name.span()=>
        const _: () = __pubsub::__private::channel_name::one_payload_type_per_channel::<__Name, _>();
    };
    // A generic type has no single instance to infer, so a type of the same name stands for all of them.
    let declaration = if input.generics.params.is_empty() {
        quote_spanned!(of.span()=> impl __pubsub::__private::channel_name::DeclaredBy<#of> for __Name {})
    } else {
        quote_spanned! {of.span()=>
            const _: () = {
                pub enum #of {}
                impl __pubsub::__private::channel_name::DeclaredBy<#of> for __Name {}
            };
        }
    };
    quote! {
        type __Name = __pubsub::__private::channel_name::ChannelName<#(#letters),*>;
        #declaration
        impl #impl_generics __pubsub::__private::channel_name::HasChannelName for #of #ty_generics #where_clause {
            type Name = __Name;
        }
        #check
    }
}
