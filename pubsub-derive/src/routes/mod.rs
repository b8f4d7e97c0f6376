//! `routes!`: a table of which handler gets which channel, as a type that the compiler can ask.
//!
//! The same stages as the derive: [`parse`] reads, `check` applies the rules, [`write`] writes; after a mistake too, and
//! then so that it is the only error.

mod check;
mod parse;
mod write;

use crate::errors::Errors;
use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser as _};

pub(crate) fn expand_routes(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = (|input: ParseStream<'_>| Ok(parse::table(input, &mut errors))).parse2(input);
    // The parser takes every token, so its own errors can only come from unbalanced ones, which rustc has refused.
    let Ok(Some(table)) = parsed else { return errors.into_compile_errors() };
    let names = check::names(&table, &mut errors);
    let mut tokens = if errors.is_empty() { write::table(&table, &names) } else { write::fallback(&table) };
    tokens.extend(errors.into_compile_errors());
    tokens
}
