//! `routes!`: a table of which handler gets which channel, as a type that the compiler can ask.
//!
//! The same stages as the derive: [`parse`] reads, `check` applies the rules, [`expand`] writes; after a mistake too, and
//! then so that it is the only error.

mod check;
mod expand;
mod parse;

use crate::errors::Errors;
use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser as _};
use syn::{Attribute, Ident, LitStr, Path, Type, Visibility};

/// What stands in the braces of `routes!`.
pub(crate) struct Table {
    /// Where `pubsub` is, as its own macro says.
    krate: Path,
    attrs: Vec<Attribute>,
    vis: Visibility,
    name: Ident,
    routes: Vec<Route>,
}

/// `Email => [Mailer, AuditLog]`.
struct Route {
    channel: Type,
    targets: Vec<Target>,
}

/// `Mailer as "mailer" with SubscribeOptions::new()`.
struct Target {
    handler: Type,
    /// The subscription's name, if it is given one.
    subscription: Option<LitStr>,
    options: Option<TokenStream>,
}

pub(crate) fn expand_routes(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = (|input: ParseStream<'_>| Ok(parse::table(input, &mut errors))).parse2(input);
    // The parser takes every token, so its own errors can only come from unbalanced ones, which rustc has refused.
    let Ok(Some(table)) = parsed else { return errors.into_compile_errors() };
    let names = check::names(&table, &mut errors);
    let mut tokens = if errors.is_empty() { expand::table(&table, &names) } else { expand::fallback(&table) };
    tokens.extend(errors.into_compile_errors());
    tokens
}
