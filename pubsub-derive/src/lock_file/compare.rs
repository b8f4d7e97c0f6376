//! Holds the type against its lock: what the macro sees it reports itself, and the types of fields it leaves to constants
//! that fail the build, each on its field.

use super::parse::{Content, Locked, Node, Part};
use crate::errors::Errors;
use crate::read::layout::{self, Layout};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::Ident;
use syn::spanned::Spanned as _;

/// What is locked.
pub(super) struct Subject<'a> {
    pub(super) of: &'a Ident,
    pub(super) channel: &'a str,
    pub(super) version: u32,
    /// The path of the lock file.
    pub(super) shown: &'a str,
}

impl Subject<'_> {
    /// A message: what has changed, and the two ways out.
    fn message(&self, changed: &str, repair: &str) -> String {
        let Self { of, channel, version, shown } = self;
        let next = version + 1;
        format!(
            "{changed}: version {version} of channel `{channel}` is locked in {shown}\n\
             either {repair}\n\
             or make it version {next}: `version = {next}, upcast_from = {of}V{version}`, with what `{of}` was until now as `{of}V{version}`"
        )
    }
}

pub(super) fn check(
    subject: &Subject<'_>,
    locked: &Locked,
    layout: &Layout,
    errors: &mut Errors,
) -> TokenStream {
    let Some(root) = locked.types.first() else { return TokenStream::new() };
    let noun = if layout.kind == "enum" { "variant" } else { "field" };
    let names = |name: &str| layout.parts.iter().any(|part| part.name == name);
    let mut checks = vec![whole(subject)];
    for Part { name, .. } in root.parts.iter().filter(|part| root.kind == layout.kind && !names(&part.name)) {
        let changed = format!("{noun} `{name}` is missing");
        let repair = format!(
            "put it back; a {noun} that was renamed keeps its name by `#[serde(rename = \"{name}\")]`"
        );
        errors.push(subject.of, subject.message(&changed, &repair));
        checks.clear();
    }
    if checks.is_empty() {
        return TokenStream::new();
    }
    checks.extend(layout.parts.iter().map(|part| held(subject, root, part, noun)));
    let (of, statics) = (subject.of, statics(locked));
    quote! {
        const _: () = {
            #statics
            const __NOW: __pubsub::__private::shape::Link = <#of as __pubsub::Shape>::NODE;
            #(#checks)*
        };
    }
}

/// That it is of the same kind, and is told the same by serde.
fn whole(subject: &Subject<'_>) -> TokenStream {
    let message = subject.message(
        "the type, or an attribute of serde on it, has changed",
        "let it be written and read as before",
    );
    let span = Span::call_site().located_at(subject.of.span());
    quote_spanned!(span=> const _: () = ::core::assert!(__pubsub::__private::shape::same_kind(&__LOCKED_0, __NOW.node()), #message);)
}

/// That a field is as it was, or may be added.
fn held(subject: &Subject<'_>, root: &Node, part: &layout::Part, noun: &str) -> TokenStream {
    let name = &part.name;
    let message = if root.parts.iter().any(|locked| locked.name == *name) {
        let changed = format!("{noun} `{name}` is not what it was");
        subject.message(&changed, &format!("make `{name}`, and the types that it is made of, what they were"))
    } else if noun == "variant" {
        let repair = "let those who know the old ones alone read it as one of them: have a variant with `#[serde(other)]` before you add one";
        subject.message(&format!("variant `{name}` is new"), repair)
    } else {
        let repair = format!("add `#[serde(default)]` to `{name}`, or make it an `Option`");
        subject.message(&format!("field `{name}` is new, and events without it cannot be read"), &repair)
    };
    let span = Span::call_site().located_at(part.at.span());
    quote_spanned!(span=> const _: () = ::core::assert!(__pubsub::__private::shape::part_holds(&__LOCKED_0, __NOW.node(), #name), #message);)
}

/// The locked types as statics, which may lead back to each other.
fn statics(locked: &Locked) -> TokenStream {
    locked
        .types
        .iter()
        .zip(1_u64..)
        .enumerate()
        .map(|(index, (node, id))| {
            let (name, node) = (static_name(index), tokens(node, id));
            quote!(static #name: __pubsub::__private::shape::Node = #node;)
        })
        .collect()
}

fn static_name(index: usize) -> Ident {
    format_ident!("__LOCKED_{index}")
}

fn tokens(node: &Node, id: u64) -> TokenStream {
    let Node { kind, serde, parts } = node;
    let parts = parts.iter().map(|part| {
        let Part { name, serde, content } = part;
        let (node, written) = match content {
            Content::Type(index) => {
                let name = static_name(*index);
                (quote!(::core::option::Option::Some(__pubsub::__private::shape::Link::to(&#name))), "")
            }
            Content::Node(node) => {
                let node = tokens(node, 0);
                (quote!(::core::option::Option::Some(__pubsub::__private::shape::Link::to(&#node))), "")
            }
            Content::Opaque(written) => (quote!(::core::option::Option::None), written.as_str()),
            Content::Missing => (quote!(::core::option::Option::None), ""),
        };
        quote!(__pubsub::__private::shape::Part { name: #name, serde: &[#(#serde),*], node: #node, written: #written })
    });
    quote!(__pubsub::__private::shape::Node { id: #id, kind: #kind, serde: &[#(#serde),*], parts: &[#(#parts),*] })
}
