//! Refuses types that cannot be payloads: unions, and types that borrow.

use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Data, DeriveInput, Field, Fields, GenericArgument, Lifetime, PathArguments, Type};

/// Reports why the type cannot be a payload, whatever its attributes are.
pub(crate) fn check(input: &DeriveInput) -> Errors {
    let mut errors = Errors::default();
    let borrows = match &input.data {
        Data::Union(data) => {
            errors.push(
                data.union_token,
                "a union cannot be a payload, because serde cannot tell which field to write\nuse an enum",
            );
            return errors;
        }
        Data::Struct(data) => fields(&data.fields, &mut errors),
        Data::Enum(data) => {
            let mut borrows = false;
            for variant in &data.variants {
                borrows |= fields(&variant.fields, &mut errors);
            }
            borrows
        }
    };
    // A field is the better place for the message. A lifetime is reported only if no field shows it.
    if !borrows && let Some(parameter) = input.generics.lifetimes().next() {
        refuse(&parameter.lifetime, "owned types", &mut errors);
    }
    errors
}

/// Reports the fields that borrow. Returns whether there are any.
fn fields(fields: &Fields, errors: &mut Errors) -> bool {
    let mut borrows = false;
    for field in fields {
        if let Some(borrow) = find_borrow(&field.ty).filter(|borrow| !is_left_out(field, borrow)) {
            refuse(&borrow.tokens, &borrow.instead, errors);
            borrows = true;
        }
    }
    borrows
}

fn refuse(at: impl ToTokens, instead: &str, errors: &mut Errors) {
    errors.push(
        at,
        format!(
            "a payload may not borrow: use {instead}\n\
             an event outlives the code that published it, so it has to own its data"
        ),
    );
}

/// The part of a field's type that borrows.
struct Borrow {
    tokens: TokenStream,
    /// The type to use instead.
    instead: String,
    is_static: bool,
}

impl Borrow {
    fn new(ty: &Type, lifetime: Option<&Lifetime>, instead: String) -> Self {
        let is_static = lifetime.is_some_and(|lifetime| lifetime.ident == "static");
        Self { tokens: ty.to_token_stream(), instead, is_static }
    }
}

/// Whether serde never reads a `&'static str`, which is fine: its field is skipped, or read by a function of the user's.
fn is_left_out(field: &Field, borrow: &Borrow) -> bool {
    let words = ["skip", "skip_deserializing", "deserialize_with", "with"];
    let serde = field.attrs.iter().filter(|attr| attr.path().is_ident("serde"));
    borrow.is_static
        && serde.filter_map(|attr| attr.meta.require_list().ok()).any(|list| {
            list.tokens.clone().into_iter().any(|token| words.contains(&token.to_string().as_str()))
        })
}

/// Finds the first part of `ty` that borrows.
fn find_borrow(ty: &Type) -> Option<Borrow> {
    match ty {
        Type::Reference(reference) => {
            Some(Borrow::new(ty, reference.lifetime.as_ref(), format!("`{}`", owned(&reference.elem))))
        }
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            // It stores nothing of the type.
            if last.ident == "PhantomData" {
                return None;
            }
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
            let lifetime = arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => Some(lifetime),
                _ => None,
            });
            let types = || {
                arguments.args.iter().filter_map(|argument| match argument {
                    GenericArgument::Type(ty) => Some(ty),
                    _ => None,
                })
            };
            if let Some(lifetime) = lifetime {
                let instead = match types().next() {
                    Some(inner) if last.ident == "Cow" => format!("`{}`", owned(inner)),
                    _ => "owned types".to_owned(),
                };
                return Some(Borrow::new(ty, Some(lifetime), instead));
            }
            types().find_map(find_borrow)
        }
        Type::Array(array) => find_borrow(&array.elem),
        Type::Group(group) => find_borrow(&group.elem),
        Type::Paren(paren) => find_borrow(&paren.elem),
        Type::Slice(slice) => find_borrow(&slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(find_borrow),
        _ => None,
    }
}

/// Returns the owned counterpart of the type behind a reference.
fn owned(behind: &Type) -> String {
    let spelled = |ty: &Type| ty.to_token_stream().to_string();
    match behind {
        Type::Slice(slice) => format!("Vec<{}>", spelled(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Path") => {
            "PathBuf".to_owned()
        }
        Type::Path(path) if path.path.get_ident().is_some() => spelled(behind),
        // Tokens print with spaces, so a longer type would not look as the user wrote it.
        _ => "the owned type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn messages(item: TokenStream) -> Vec<String> {
        let first_lines = check(&syn::parse2(item).unwrap()).messages().into_iter();
        first_lines.map(|message| message.lines().next().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_borrow_is_refused_and_the_owned_type_offered() {
        let cases = [
            (
                quote!(
                    struct S<'a> {
                        a: &'a str,
                    }
                ),
                "`String`",
            ),
            (
                quote!(
                    struct S {
                        a: &'static str,
                    }
                ),
                "`String`",
            ),
            (
                quote!(
                    struct S<'a>(&'a [u8]);
                ),
                "`Vec<u8>`",
            ),
            (
                quote!(
                    struct S<'a> {
                        a: Option<Vec<&'a Order>>,
                    }
                ),
                "`Order`",
            ),
            (
                quote!(
                    struct S<'a> {
                        a: std::borrow::Cow<'a, str>,
                    }
                ),
                "`String`",
            ),
            (
                quote!(
                    struct S<'a> {
                        a: (u8, [Ref<'a>; 2]),
                    }
                ),
                "owned types",
            ),
            (
                quote!(
                    enum E<'a> {
                        A { a: &'a std::path::Path },
                        B,
                    }
                ),
                "`PathBuf`",
            ),
            (
                quote!(
                    struct S<'a> {
                        a: PhantomData<&'a str>,
                    }
                ),
                "owned types",
            ),
            (
                quote!(
                    struct S {
                        #[serde(default)]
                        a: &'static str,
                    }
                ),
                "`String`",
            ),
        ];
        for (item, instead) in cases {
            let expected = [format!("a payload may not borrow: use {instead}")];
            assert_eq!(messages(item.clone()), expected, "{item}");
        }
    }

    #[test]
    fn types_that_own_their_data_are_accepted() {
        let cases = [
            quote!(
                struct S {
                    a: String,
                    b: Vec<Option<u8>>,
                    c: Box<[u8]>,
                }
            ),
            quote!(
                struct S {
                    a: Cow<'static, str>,
                }
            ),
            quote!(
                struct S<T> {
                    a: PhantomData<fn(&T)>,
                    b: PhantomData<&'static str>,
                }
            ),
            quote!(
                struct S {
                    #[serde(skip)]
                    a: &'static str,
                }
            ),
            quote!(
                enum E {
                    A(u8),
                    B { c: String },
                    D,
                }
            ),
        ];
        for item in cases {
            assert_eq!(messages(item.clone()), [""; 0], "{item}");
        }
    }

    #[test]
    fn each_borrowing_field_is_reported() {
        assert_eq!(
            messages(quote!(
                struct S<'a> {
                    a: &'a str,
                    b: u8,
                    c: &'a str,
                }
            ))
            .len(),
            2
        );
    }
}
