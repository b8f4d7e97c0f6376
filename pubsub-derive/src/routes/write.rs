//! Writes the routes as implementations for a type, and the checks that need the compiler.

use super::check::{last_word, spelled};
use super::parse::{Route, Routes, Target};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use std::collections::HashSet;
use syn::spanned::Spanned as _;
use syn::{Path, Type};

/// Writes everything for routes whose subscriptions have these `names`.
pub(super) fn routes(input: &Routes, names: &[Vec<String>]) -> TokenStream {
    let Routes { krate, name, routes, .. } = input;
    let private = quote!(#krate::__private);
    let handlers = handlers(routes);
    let list = |state: TokenStream| {
        handlers.iter().rev().fold(
            quote!(()),
            |rest, handler| quote!((#private::routes::handlers::Slot<#handler, #state>, #rest)),
        )
    };
    let definition = definition(
        input,
        &list(quote!(#private::routes::handlers::WithoutFactory)),
        &list(quote!(#private::routes::handlers::RunsElsewhere)),
    );
    let channels: Vec<&Type> = routes.iter().map(|route| &route.channel).collect();
    let checks = checks(krate, &channels);
    let plans = routes.iter().zip(names).map(|(route, names)| plan(krate, route, names));
    let routes = channels.iter().map(|channel| {
        quote_spanned! {at(channel)=>
            #[automatically_derived]
            impl #private::routed::RoutesChannel<#channel> for #name {}
        }
    });
    // A handler under two spellings would count as two, and one of them could not get a factory.
    let spellings = handlers.iter().map(|handler| {
        quote_spanned! {at(handler)=>
            #[automatically_derived]
            impl #private::routes::SpellsHandlerOneWay<#handler> for #name {}
        }
    });
    quote! {
        #definition
        #(#routes)*
        #(#spellings)*
        #[automatically_derived]
        impl #private::routes::Routes for #name {
            fn plan(plan: #private::routes::Plan) -> #private::routes::Plan {
                #(#plans)*
                plan
            }
        }
        #checks
    }
}

/// Writes routes that accept every channel and every handler, so that a mistake is the only error.
pub(super) fn fallback(input: &Routes) -> TokenStream {
    let Routes { krate, name, .. } = input;
    let private = quote!(#krate::__private);
    let unknown = quote!(#private::routes::handlers::AfterMistake);
    let definition = definition(input, &unknown, &unknown);
    quote! {
        #definition
        #[automatically_derived]
        impl<__Channel> #private::routed::RoutesChannel<__Channel> for #name {}
        #[automatically_derived]
        impl #private::routes::Routes for #name {
            fn plan(plan: #private::routes::Plan) -> #private::routes::Plan {
                plan
            }
        }
    }
}

/// Writes the type and its functions. `all` and `only` are the types of the lists that those functions return.
fn definition(input: &Routes, all: &TokenStream, only: &TokenStream) -> TokenStream {
    let Routes { krate, attrs, vis, name, .. } = input;
    quote! {
        #(#attrs)*
        #[allow(missing_debug_implementations)]
        #vis enum #name {}

        #[automatically_derived]
        #[allow(dead_code, private_interfaces)]
        impl #name {
            /// Runs every handler in this process. Those without `Default` need a factory: `.handler(|| ..)`.
            #vis fn all() -> #krate::routing::Handlers<Self, #all> {
                #krate::routing::Handlers::new()
            }

            /// Runs only the handlers with a factory in this process: `.handler(|| ..)`.
            #vis fn only() -> #krate::routing::Handlers<Self, #only> {
                #krate::routing::Handlers::new()
            }

            /// Returns a publisher for the channels of these routes.
            #vis const fn publisher() -> #krate::routing::Publisher<Self> {
                #krate::routing::Publisher::new()
            }
        }
    }
}

/// Returns the types of the handlers, each once, in the order of the routes.
fn handlers(routes: &[Route]) -> Vec<&Type> {
    let mut seen = HashSet::new();
    let all = routes.iter().flat_map(|route| &route.targets).map(|target| &target.handler);
    all.filter(|handler| seen.insert(spelled(handler))).collect()
}

/// Returns the span for errors about a type: that of its own name, because rustc underlines one token.
fn at(ty: &Type) -> Span {
    last_word(ty).map_or_else(|| ty.span(), syn::Ident::span)
}

/// Writes one route. If a type lacks a trait, the error is on its tokens.
fn plan(krate: &Path, route: &Route, names: &[String]) -> TokenStream {
    let channel = &route.channel;
    let described = describe(krate, channel);
    let targets = route.targets.iter().zip(names).map(|(Target { handler, options, .. }, name)| {
        let options = match options {
            Some(options) => options.clone(),
            None => quote!(#krate::SubscribeOptions::new()),
        };
        quote_spanned!(at(handler)=> .to::<#handler>(#name, #options))
    });
    quote!(let plan = plan.channel(&#described) #(#targets)* .end();)
}

/// Writes the description of a channel. The tokens are the same each time, because rustc shows equal errors once.
fn describe(krate: &Path, channel: &Type) -> TokenStream {
    let krate = path_at(krate, at(channel));
    quote_spanned!(at(channel)=> #krate::__private::routes::describe::<#channel>())
}

/// Returns `krate` with `span`, at which its errors are reported.
fn path_at(krate: &Path, span: Span) -> Path {
    let mut krate = krate.clone();
    for segment in &mut krate.segments {
        segment.ident.set_span(segment.ident.span().located_at(span));
    }
    krate
}

/// Writes the checks that no two channels have one name, both for derived channels and for those implemented by hand.
fn checks(krate: &Path, channels: &[&Type]) -> TokenStream {
    let private = quote!(#krate::__private);
    let listed = channels.iter().map(|channel| {
        let (spelled, described) = (spelled(channel), describe(krate, channel));
        quote!((#spelled, #described.name))
    });
    let checks = channels.iter().enumerate().map(|(nth, channel)| {
        let krate = path_at(krate, at(channel));
        let private = quote_spanned!(at(channel)=> #krate::__private);
        quote_spanned! {at(channel)=>
            const _: () = {
                // If this check fails, the compiler does not evaluate the next one, so each mistake is reported once.
                let _: fn() = || #private::channel_name::one_payload_type_per_listed_channel(
                    (&#private::channel_name::NameOf::<#channel>(::core::marker::PhantomData)).name()
                );
                #private::channel_name::one_name_per_listed_channel(__LISTED, #nth);
            };
        }
    });
    quote! {
        const _: () = {
            #[allow(unused_imports)]
            use #private::channel_name::{DerivedName as _, UnknownName as _};
            type __Text = &'static ::core::primitive::str;
            const __LISTED: &[(__Text, __Text)] = &[#(#listed),*];
            #(#checks)*
        };
    }
}
