//! Compares a channel with its lock file, `pubsub.lock.d/<name>.v<version>.json`, in the directory of the manifest or above it.
//!
//! A crate opts in by having that directory. Without one, nothing is checked.

mod compare;
mod find;
mod parse;

use crate::check::channel::Channel;
use crate::errors::Errors;
use crate::read::layout::TypeLayout;
use find::{Location, Mode};
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use std::path::Path;
use syn::DeriveInput;

/// The output of the derive that concerns the lock file.
#[derive(Default)]
pub(crate) struct LockFileTokens {
    /// The comparison with the lock file, for a scope in which `__pubsub` is imported.
    pub(crate) checks: TokenStream,
    /// The test that writes or checks the lock file, for the module of the type: a test elsewhere is not found.
    pub(crate) test: TokenStream,
}

/// Compares the type with its lock file, or writes the test that `pubsub schema` runs.
pub(crate) fn check(
    input: &DeriveInput,
    channel: &Channel<'_>,
    layout: &TypeLayout,
    errors: &mut Errors,
) -> LockFileTokens {
    // A generic type has many shapes, so it has no lock file.
    let (Some(name), true) = (&channel.name, input.generics.params.is_empty()) else {
        return LockFileTokens::default();
    };
    let (name, version) = (name.value(), channel.version.unwrap_or(1));
    // Makes cargo compile the crate again when the variable changes, because a lock file may have been written meanwhile.
    let track_mode = quote!(
        const _: ::core::option::Option<&::core::primitive::str> = ::core::option_env!("PUBSUB_LOCK");
    );
    let mut tokens = LockFileTokens { checks: track_mode, ..LockFileTokens::default() };
    match find::find(&name, version) {
        (Mode::Write, Some(Location { directory, .. })) => {
            tokens.test = test(input, channel, &name, version, &directory);
        }
        (Mode::Check, Some(Location { file: Some(file), shown, .. })) => {
            let compared =
                compare::ChannelVersion { of: &input.ident, channel: &name, version, lock_file: &shown };
            tokens.checks.extend(compare_with(&file, &compared, layout, errors));
        }
        _ => {}
    }
    tokens
}

/// Compares the type with a lock file, which cargo tracks from then on.
fn compare_with(
    file: &Path,
    compared: &compare::ChannelVersion<'_>,
    layout: &TypeLayout,
    errors: &mut Errors,
) -> TokenStream {
    let read = parse::read(file).and_then(|recorded| {
        let path = file.to_str().ok_or("its path is not UTF-8")?;
        Ok((recorded, path))
    });
    match read {
        Ok((recorded, path)) => {
            let checks = compare::check(compared, &recorded, layout, errors);
            quote! {
                const _: &[::core::primitive::u8] = ::core::include_bytes!(#path);
                #checks
            }
        }
        Err(why) => {
            let shown = compared.lock_file;
            errors.push(
                compared.of,
                format!(
                    "the lock file {shown} cannot be read: {why}\nrestore it, or write it again with `pubsub schema lock`"
                ),
            );
            TokenStream::new()
        }
    }
}

/// Writes the test that `pubsub schema lock` and `pubsub schema check` run.
fn test(
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
            #krate::__private::lock_file::write_or_check::<#of>(#directory, #name, #version);
        }
    }
}
