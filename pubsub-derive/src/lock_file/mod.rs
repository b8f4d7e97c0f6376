//! Holds a channel against its lock file: `pubsub.lock.d/<name>.v<version>.json`, beside the manifest or above it.
//!
//! No directory of that name, no check: a crate opts in by having one.

mod compare;
mod find;
mod parse;

use crate::check::channel::Channel;
use crate::errors::Errors;
use crate::read::layout::Layout;
use find::{Mode, Place};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::DeriveInput;

/// What holds the build against the lock, if there is one; or, while locks are written, the test that writes it.
#[derive(Default)]
pub(crate) struct Lock {
    /// For where `__pubsub` is imported.
    pub(crate) inside: TokenStream,
    /// For beside that: a test is found only where modules are.
    pub(crate) outside: TokenStream,
}

pub(crate) fn lock(input: &DeriveInput, channel: &Channel<'_>, layout: &Layout, errors: &mut Errors) -> Lock {
    // One shape for each type that it is made with: which of them would be locked?
    let (Some(name), true) = (&channel.name, input.generics.params.is_empty()) else {
        return Lock::default();
    };
    let (name, version) = (name.value(), channel.version.unwrap_or(1));
    // Compiled again when it changes: a lock may have been written meanwhile.
    let track = quote!(
        const _: ::core::option::Option<&::core::primitive::str> = ::core::option_env!("PUBSUB_LOCK");
    );
    let place = match find::find(&name, version) {
        (Mode::Off, _) | (_, None) => return Lock { inside: track, ..Lock::default() },
        (mode, Some(place)) => (mode, place),
    };
    match place {
        (Mode::Write, Place { directory, .. }) => {
            Lock { inside: track, outside: writer(input, channel, &name, version, &directory) }
        }
        (_, Place { file: Some(file), shown, .. }) => {
            let found = parse::read(&file).and_then(|locked| {
                let path = file.to_str().ok_or("its path is not UTF-8")?;
                Ok((locked, path.to_owned()))
            });
            match found {
                Ok((locked, path)) => {
                    let subject =
                        compare::Subject { of: &input.ident, channel: &name, version, shown: &shown };
                    let checks = compare::check(&subject, &locked, layout, errors);
                    let include = quote!(
                        const _: &[::core::primitive::u8] = ::core::include_bytes!(#path);
                    );
                    Lock { inside: quote!(#track #include #checks), ..Lock::default() }
                }
                Err(why) => {
                    errors.push(
                        &input.ident,
                        format!("{shown} cannot be read: {why}\nwrite it anew with `pubsub schema lock`"),
                    );
                    Lock { inside: track, ..Lock::default() }
                }
            }
        }
        _ => Lock { inside: track, ..Lock::default() },
    }
}

/// The test that `pubsub schema lock` and `pubsub schema check` run.
fn writer(
    input: &DeriveInput,
    channel: &Channel<'_>,
    name: &str,
    version: u32,
    directory: &str,
) -> TokenStream {
    let of = &input.ident;
    let test = format_ident!("pubsub_schema_of_{}_v{version}", name.replace(['.', '-'], "_"));
    let krate = channel.krate.as_ref().map_or_else(|| quote!(::pubsub), |path| quote!(#path));
    quote! {
        #[cfg(test)]
        #[test]
        #[allow(unnameable_test_items, non_snake_case)]
        fn #test() {
            #krate::__private::lock_file::visit::<#of>(#directory, #name, #version);
        }
    }
}
