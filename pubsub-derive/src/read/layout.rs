//! The shape of a type, as its definition says it: what is hashed into a channel's fingerprint, and held against a lock file.

use super::serde_attrs::{self, Rules, SerdeAttrs};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::{Data, DeriveInput, Fields, Ident, Type};

/// A type, or a variant's content.
pub(crate) struct Layout {
    pub(crate) kind: &'static str,
    pub(crate) serde: Vec<String>,
    pub(crate) parts: Vec<Part>,
}

/// A field or a variant.
pub(crate) struct Part {
    /// As it stands in the JSON.
    pub(crate) name: String,
    pub(crate) serde: Vec<String>,
    pub(crate) content: Content,
    /// What to underline: its name, or its type where it has none.
    pub(crate) at: TokenStream,
}

pub(crate) enum Content {
    /// A field's type; `concrete` if it does not depend on the type's parameters.
    Field { ty: TokenStream, concrete: bool },
    /// A variant's fields.
    Variant(Layout),
}

impl Layout {
    pub(crate) fn of(input: &DeriveInput) -> Option<Self> {
        let wire = SerdeAttrs::read(&input.attrs);
        let mut layout = match &input.data {
            Data::Struct(data) => Reader::new(input).fields(&data.fields, &wire.rename_all),
            Data::Enum(data) => {
                let reader = Reader::new(input);
                let mut parts = Vec::new();
                for variant in &data.variants {
                    let own = SerdeAttrs::read(&variant.attrs);
                    if own.is_skipped() {
                        continue;
                    }
                    let name = variant.ident.unraw().to_string();
                    let rule = if own.rename_all == Rules::default() {
                        &wire.rename_all_fields
                    } else {
                        &own.rename_all
                    };
                    parts.push(Part {
                        name: own.name(&name, &wire.rename_all, serde_attrs::variant),
                        content: Content::Variant(reader.fields(&variant.fields, rule)),
                        serde: own.attributes,
                        at: variant.ident.to_token_stream(),
                    });
                }
                // The first that fits is taken: there, the order counts.
                if !wire.has("untagged") {
                    parts.sort_by(|a, b| a.name.cmp(&b.name));
                }
                Self { kind: "enum", serde: Vec::new(), parts }
            }
            Data::Union(_) => return None,
        };
        layout.serde.clone_from(&wire.attributes);
        if matches!(input.data, Data::Struct(_))
            && wire.attributes.iter().any(|attribute| attribute.starts_with("tag="))
        {
            // Only there the name of the type itself is written.
            layout.serde.push(wire.name(
                &input.ident.unraw().to_string(),
                &Rules::default(),
                serde_attrs::variant,
            ));
        }
        Some(layout)
    }
}

/// Reads fields of a type, knowing what depends on its parameters.
struct Reader<'a> {
    of: &'a Ident,
    parameters: Vec<&'a Ident>,
}

impl<'a> Reader<'a> {
    fn new(input: &'a DeriveInput) -> Self {
        let types = input.generics.type_params().map(|parameter| &parameter.ident);
        let parameters =
            types.chain(input.generics.const_params().map(|parameter| &parameter.ident)).collect();
        Self { of: &input.ident, parameters }
    }

    fn fields(&self, fields: &Fields, rule: &Rules) -> Layout {
        let mut parts = Vec::new();
        for (position, field) in fields.iter().enumerate() {
            let own = SerdeAttrs::read(&field.attrs);
            if own.is_skipped() {
                continue;
            }
            let at = match &field.ident {
                Some(name) => name.to_token_stream(),
                None => field.ty.to_token_stream(),
            };
            let name = match &field.ident {
                Some(name) => own.name(&name.unraw().to_string(), rule, serde_attrs::field),
                None => position.to_string(),
            };
            parts.push(Part { name, serde: own.attributes, content: self.content(&field.ty), at });
        }
        let kind = match fields {
            Fields::Named(_) => "struct",
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => "newtype",
            Fields::Unnamed(_) => "tuple",
            Fields::Unit => "unit",
        };
        if kind == "struct" {
            parts.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Layout { kind, serde: Vec::new(), parts }
    }

    fn content(&self, ty: &Type) -> Content {
        let tokens = ty.to_token_stream();
        let concrete = !mentions(&tokens, &|word| {
            self.parameters.contains(&word) || word == "Self" && !self.parameters.is_empty()
        });
        // `Self` means another type where the shape is written down.
        Content::Field { ty: replace_self(tokens, self.of), concrete }
    }
}

fn mentions(tokens: &TokenStream, wanted: &dyn Fn(&Ident) -> bool) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(word) => wanted(&word),
        TokenTree::Group(group) => mentions(&group.stream(), wanted),
        _ => false,
    })
}

fn replace_self(tokens: TokenStream, of: &Ident) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(word) if word == "Self" => {
            TokenTree::Ident(Ident::new(&of.to_string(), word.span()))
        }
        TokenTree::Group(group) => {
            let mut inside = proc_macro2::Group::new(group.delimiter(), replace_self(group.stream(), of));
            inside.set_span(group.span());
            TokenTree::Group(inside)
        }
        other => other,
    };
    tokens.into_iter().map(replace).collect()
}
