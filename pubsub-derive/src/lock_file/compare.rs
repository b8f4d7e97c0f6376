//! Compares a type with its lock file. The macro sees the type's own members, and reports those that are missing. For their
//! types it writes constants that fail the build, each on its field.

use super::parse::{LockFile, RecordedContent, RecordedMember, RecordedType};
use crate::errors::Errors;
use crate::read::layout::{MemberLayout, TypeLayout};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::Ident;
use syn::spanned::Spanned as _;

/// The version of a channel that has a lock file.
pub(super) struct ChannelVersion<'a> {
    pub(super) of: &'a Ident,
    pub(super) channel: &'a str,
    pub(super) version: u32,
    /// The path of the lock file.
    pub(super) lock_file: &'a str,
}

impl ChannelVersion<'_> {
    /// Returns a message with the change and both ways to resolve it.
    fn message(&self, change: &str, repair: &str) -> String {
        let Self { of, channel, version, lock_file } = self;
        let next = version + 1;
        format!(
            "{change}: this breaks version {version} of channel `{channel}`, as recorded in {lock_file}\n\
             either {repair}\n\
             or make this version {next}: write `version = {next}, upcast_from = {of}V{version}`, \
             and keep the old definition of `{of}` as `{of}V{version}`"
        )
    }
}

/// Reports missing members, and writes the checks of the others.
pub(super) fn check(
    compared: &ChannelVersion<'_>,
    lock_file: &LockFile,
    layout: &TypeLayout,
    errors: &mut Errors,
) -> TokenStream {
    let Some(recorded) = lock_file.types.first() else { return TokenStream::new() };
    let noun = if layout.kind == "enum" { "variant" } else { "field" };
    let is_missing = |member: &&RecordedMember| !layout.members.iter().any(|known| known.name == member.name);
    let missing: Vec<&RecordedMember> = match recorded.kind == layout.kind {
        true => recorded.members.iter().filter(is_missing).collect(),
        false => Vec::new(),
    };
    for RecordedMember { name, .. } in &missing {
        let change = format!("{noun} `{name}` is missing");
        let repair = format!(
            "restore the {noun}; if you renamed it, keep its name in the JSON: `#[serde(rename = \"{name}\")]`"
        );
        errors.push(compared.of, compared.message(&change, &repair));
    }
    if !missing.is_empty() {
        return TokenStream::new();
    }
    let (of, statics) = (compared.of, statics(lock_file));
    let kind = check_kind(compared);
    let members = layout.members.iter().map(|member| check_member(compared, recorded, member, noun));
    quote! {
        const _: () = {
            #statics
            const __NOW: __pubsub::__private::shape::ShapeRef = <#of as __pubsub::Shape>::SHAPE;
            #kind
            #(#members)*
        };
    }
}

/// Writes the check of the type's kind and of its own serde attributes.
fn check_kind(compared: &ChannelVersion<'_>) -> TokenStream {
    let message = compared.message("the type, or a serde attribute on it, has changed", "undo the change");
    let span = Span::call_site().located_at(compared.of.span());
    quote_spanned! {span=>
        const _: () = ::core::assert!(
            __pubsub::__private::shape::is_same_kind(&__RECORDED_0, __NOW.get()),
            #message
        );
    }
}

/// Writes the check of one member: it is compatible with the recorded one, or may be added.
fn check_member(
    compared: &ChannelVersion<'_>,
    recorded: &RecordedType,
    member: &MemberLayout,
    noun: &str,
) -> TokenStream {
    let name = &member.name;
    let message = if recorded.members.iter().any(|recorded| recorded.name == *name) {
        let repair = format!("restore `{name}` and the types that it is made of");
        compared.message(&format!("{noun} `{name}` has changed"), &repair)
    } else if noun == "variant" {
        let repair = format!(
            "add and deploy a variant with `#[serde(other)]` first, so that older processes read `{name}` as that one"
        );
        compared.message(&format!("variant `{name}` is new"), &repair)
    } else {
        let repair = format!(
            "add `#[serde(default)]` to `{name}`, or make it an `Option`; that is not enough beside `deny_unknown_fields`, where \
             `{name}` is flattened, or where a flattened field reads its name already"
        );
        let change =
            format!("field `{name}` is new, and not every event can be read by the old type and the new one");
        compared.message(&change, &repair)
    };
    let span = Span::call_site().located_at(member.at.span());
    quote_spanned! {span=>
        const _: () = ::core::assert!(
            __pubsub::__private::shape::is_compatible_member(&__RECORDED_0, __NOW.get(), #name),
            #message
        );
    }
}

/// Writes the recorded types as statics, which may refer to each other.
fn statics(lock_file: &LockFile) -> TokenStream {
    lock_file
        .types
        .iter()
        .zip(1_u64..)
        .enumerate()
        .map(|(index, (recorded, id))| {
            let (name, shape) = (static_name(index), type_shape(recorded, id));
            quote!(static #name: __pubsub::__private::shape::TypeShape = #shape;)
        })
        .collect()
}

fn static_name(index: usize) -> Ident {
    format_ident!("__RECORDED_{index}")
}

fn type_shape(recorded: &RecordedType, id: u64) -> TokenStream {
    let RecordedType { kind, serde, members } = recorded;
    let members = members.iter().map(member);
    quote! {
        __pubsub::__private::shape::TypeShape {
            id: #id, kind: #kind, serde: &[#(#serde),*], members: &[#(#members),*]
        }
    }
}

fn member(recorded: &RecordedMember) -> TokenStream {
    let RecordedMember { name, serde, content } = recorded;
    let reference = |shape: TokenStream| quote!(::core::option::Option::Some(__pubsub::__private::shape::ShapeRef::to(&#shape)));
    let (shape, type_name) = match content {
        RecordedContent::Numbered(index) => {
            let name = static_name(*index);
            (reference(quote!(#name)), "")
        }
        RecordedContent::Inline(recorded) => (reference(type_shape(recorded, 0)), ""),
        RecordedContent::Opaque(type_name) => (quote!(::core::option::Option::None), type_name.as_str()),
        RecordedContent::Missing => (quote!(::core::option::Option::None), ""),
    };
    quote! {
        __pubsub::__private::shape::Member {
            name: #name, serde: &[#(#serde),*], shape: #shape, type_name: #type_name
        }
    }
}
