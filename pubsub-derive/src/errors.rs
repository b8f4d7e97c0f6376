//! Collects all mistakes in the input of a macro, so that one build shows them all.

use proc_macro2::TokenStream;
use quote::ToTokens;
use std::fmt::Display;

/// The mistakes so far, in the order in which they were found.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Records a mistake. rustc underlines `at`, so it must contain tokens of the user.
    pub(crate) fn push(&mut self, at: impl ToTokens, message: impl Display) {
        self.extend([syn::Error::new_spanned(at, message)]);
    }

    /// Records a mistake that syn found.
    pub(crate) fn add(&mut self, error: syn::Error) {
        self.extend([error]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Removes the first mistake, and returns it as a `compile_error!`.
    pub(crate) fn take_first(&mut self) -> Option<TokenStream> {
        let mut all = self.0.take()?.into_iter();
        let first = all.next().map(syn::Error::into_compile_error);
        self.extend(all);
        first
    }

    fn extend(&mut self, errors: impl IntoIterator<Item = syn::Error>) {
        for error in errors {
            match &mut self.0 {
                Some(all) => all.combine(error),
                none => *none = Some(error),
            }
        }
    }

    /// Returns one `compile_error!` for each mistake.
    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.map(syn::Error::into_compile_error).unwrap_or_default()
    }
}

/// Returns names in backquotes, separated by commas.
pub(crate) fn quoted_list(names: impl IntoIterator<Item = impl Display>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
impl Errors {
    /// Returns the messages, for tests.
    pub(crate) fn messages(self) -> Vec<String> {
        self.0.into_iter().flatten().map(|error| error.to_string()).collect()
    }
}
