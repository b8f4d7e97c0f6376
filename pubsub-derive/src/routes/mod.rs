//! `routes!`: which handler gets which channel, as a type that the compiler can check.
//!
//! It has the stages of the derives: `parse`, `check`, `write`. After a mistake, the output is a fallback, so that the
//! compiler reports nothing else.

mod check;
mod parse;
mod write;

use crate::errors::Errors;
use proc_macro2::TokenStream;
use syn::parse::{ParseStream, Parser as _};

/// Expands `routes!`.
pub(crate) fn expand(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = (|input: ParseStream<'_>| Ok(parse::routes(input, &mut errors))).parse2(input);
    // The parser takes every token, so its own errors can only come from unbalanced ones, which rustc has refused.
    let Ok(Some(routes)) = parsed else { return errors.into_compile_errors() };
    let names = check::subscription_names(&routes, &mut errors);
    let mut tokens =
        if errors.is_empty() { write::routes(&routes, &names) } else { write::fallback(&routes) };
    tokens.extend(errors.into_compile_errors());
    tokens
}
