//! Writes the table: a type, its routes as implementations, and the checks that need the compiler.

use super::check::{last_word, spelled};
use super::parse::{Route, Table, Target};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use std::collections::HashSet;
use syn::spanned::Spanned as _;
use syn::{Path, Type};

/// The whole table, whose subscriptions have the given `names`.
pub(super) fn table(table: &Table, names: &[Vec<String>]) -> TokenStream {
    let Table { krate, name, routes, .. } = table;
    let private = quote!(#krate::__private);
    let handlers = handlers(routes);
    let list = |state: TokenStream| {
        handlers.iter().rev().fold(
            quote!(()),
            |rest, handler| quote!((#private::routes::handlers::Slot<#handler, #state>, #rest)),
        )
    };
    let definition = definition(
        table,
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
    // One handler under two spellings would be two, of which one never gets its factory.
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

/// A table that routes every channel and lists every handler: it follows a mistake, which is to be the only error.
pub(super) fn fallback(table: &Table) -> TokenStream {
    let Table { krate, name, .. } = table;
    let private = quote!(#krate::__private);
    let unknown = quote!(#private::routes::handlers::AfterMistake);
    let definition = definition(table, &unknown, &unknown);
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

/// The type and its functions. `all` and `only` are the types of the lists that they begin.
fn definition(table: &Table, all: &TokenStream, only: &TokenStream) -> TokenStream {
    let Table { krate, attrs, vis, name, .. } = table;
    quote! {
        #(#attrs)*
        #[allow(missing_debug_implementations)]
        #vis enum #name {}

        #[automatically_derived]
        #[allow(dead_code, private_interfaces)]
        impl #name {
            /// Every handler runs in this process. Those without `Default` need a factory: `.handler(|| ..)`.
            #vis fn all() -> #krate::routing::Handlers<Self, #all> {
                #krate::routing::Handlers::new()
            }

            /// Those handlers run in this process that are given a factory: `.handler(|| ..)`.
            #vis fn only() -> #krate::routing::Handlers<Self, #only> {
                #krate::routing::Handlers::new()
            }

            /// Publishes on the channels of these routes.
            #vis const fn publisher() -> #krate::routing::Publisher<Self> {
                #krate::routing::Publisher::new()
            }
        }
    }
}

/// The types of the handlers, each once, in the order in which they are named.
fn handlers(routes: &[Route]) -> Vec<&Type> {
    let mut seen = HashSet::new();
    let all = routes.iter().flat_map(|route| &route.targets).map(|target| &target.handler);
    all.filter(|handler| seen.insert(spelled(handler))).collect()
}

/// Where to report what is wrong with a type: at its own name, because rustc underlines one token.
fn at(ty: &Type) -> Span {
    last_word(ty).map_or_else(|| ty.span(), syn::Ident::span)
}

/// Adds one route. What a type lacks is reported on its own tokens.
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

/// What a table knows of a channel. The same tokens wherever it is asked: of two equal errors, rustc shows one.
fn describe(krate: &Path, channel: &Type) -> TokenStream {
    let krate = path_at(krate, at(channel));
    quote_spanned!(at(channel)=> #krate::__private::routes::describe::<#channel>())
}

/// `krate`, with errors reported at `span`.
fn path_at(krate: &Path, span: Span) -> Path {
    let mut krate = krate.clone();
    for segment in &mut krate.segments {
        segment.ident.set_span(segment.ident.span().located_at(span));
    }
    krate
}

/// No two channels have one name: neither those whose names are types, in whatever crates, nor the others.
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
                // In one body with the other check: what the types can tell apart is reported by them alone.
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
