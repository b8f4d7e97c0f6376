//! The layout of a type's JSON, as far as the type's definition says: hashed into a channel's fingerprint, and compared with
//! a lock file.

use super::serde_attrs::{self, RenameRule, SerdeAttrs};
use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt as _;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident, LitStr, Type};

/// The layout of a type, or of a variant's content.
pub(crate) struct TypeLayout {
    pub(crate) kind: &'static str,
    pub(crate) serde: Vec<String>,
    pub(crate) members: Vec<MemberLayout>,
}

/// A field or a variant.
pub(crate) struct MemberLayout {
    /// The name in the JSON.
    pub(crate) name: String,
    pub(crate) serde: Vec<String>,
    pub(crate) content: Content,
    /// The tokens that errors point at: its name, or its type where it has none.
    pub(crate) at: TokenStream,
}

pub(crate) enum Content {
    /// A field's type. It `is_concrete` if it does not depend on the parameters of the type that has the field.
    Field { ty: TokenStream, is_concrete: bool },
    /// A variant's fields.
    Variant(TypeLayout),
}

impl TypeLayout {
    /// Reads the layout of the type in `input`. Returns `None` for a union.
    pub(crate) fn of(input: &DeriveInput) -> Option<Self> {
        let reader = Reader::new(input);
        let serde = SerdeAttrs::read(&input.attrs);
        let mut layout = match &input.data {
            Data::Struct(data) => reader.fields(&data.fields, &serde.rename_all),
            Data::Enum(data) => reader.variants(data, &serde),
            Data::Union(_) => return None,
        };
        reader.add_stand_ins(&mut layout, &serde);
        layout.serde.clone_from(&serde.attributes);
        let is_tagged = serde.attributes.iter().any(|attribute| attribute.starts_with("tag="));
        if is_tagged && matches!(input.data, Data::Struct(_)) {
            // Only a tagged struct writes the name of the type itself.
            let name = input.ident.unraw().to_string();
            layout.serde.push(serde.name(&name, &RenameRule::default(), serde_attrs::variant));
        }
        Some(layout)
    }
}

/// Reads the fields of a type, and knows which of them depend on its parameters.
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

    fn variants(&self, data: &DataEnum, serde: &SerdeAttrs) -> TypeLayout {
        let mut members = Vec::new();
        for variant in &data.variants {
            let own = SerdeAttrs::read(&variant.attrs);
            if own.is_skipped() {
                continue;
            }
            let name = variant.ident.unraw().to_string();
            let rule = if own.rename_all == RenameRule::default() {
                &serde.rename_all_fields
            } else {
                &own.rename_all
            };
            let mut content = self.fields(&variant.fields, rule);
            if content.kind == "struct" && serde.has("deny_unknown_fields") {
                content.serde.push("deny_unknown_fields".to_owned());
            }
            members.push(MemberLayout {
                name: own.name(&name, &serde.rename_all, serde_attrs::variant),
                content: Content::Variant(content),
                serde: own.attributes,
                at: variant.ident.to_token_stream(),
            });
        }
        // serde reads an untagged enum as the first variant that fits, so there the order counts.
        if !serde.has("untagged") {
            members.sort_by(|a, b| a.name.cmp(&b.name));
        }
        TypeLayout { kind: "enum", serde: Vec::new(), members }
    }

    fn fields(&self, fields: &Fields, rule: &RenameRule) -> TypeLayout {
        let mut members = Vec::new();
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
            members.push(MemberLayout { name, serde: own.attributes, content: self.content(&field.ty), at });
        }
        let kind = match fields {
            Fields::Named(_) => "struct",
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => "newtype",
            Fields::Unnamed(_) => "tuple",
            Fields::Unit => "unit",
        };
        if kind == "struct" {
            members.sort_by(|a, b| a.name.cmp(&b.name));
        }
        TypeLayout { kind, serde: Vec::new(), members }
    }

    /// Adds the types that serde reads or writes in place of the type. If it does both, the type's own members do not count.
    fn add_stand_ins(&self, layout: &mut TypeLayout, serde: &SerdeAttrs) {
        let stand_in = |key: &str| {
            let value = serde.attributes.iter().find_map(|attribute| attribute.strip_prefix(key))?;
            let text: LitStr = syn::parse_str(value.strip_prefix('=')?).ok()?;
            let content = self.content(&text.parse::<Type>().ok()?);
            let name = format!("serde({key})");
            Some(MemberLayout { name, serde: Vec::new(), content, at: self.of.to_token_stream() })
        };
        let (read, written) = (stand_in("from").or_else(|| stand_in("try_from")), stand_in("into"));
        if read.is_some() && written.is_some() {
            layout.kind = "converted";
            layout.members.clear();
        }
        layout.members.extend(read.into_iter().chain(written));
    }

    fn content(&self, ty: &Type) -> Content {
        let tokens = ty.to_token_stream();
        let is_concrete = !mentions(&tokens, &|word| {
            self.parameters.contains(&word) || word == "Self" && !self.parameters.is_empty()
        });
        // `Self` means another type where the shape is written.
        Content::Field { ty: replace_self(tokens, self.of), is_concrete }
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
            let mut inside = Group::new(group.delimiter(), replace_self(group.stream(), of));
            inside.set_span(group.span());
            TokenTree::Group(inside)
        }
        other => other,
    };
    tokens.into_iter().map(replace).collect()
}
