//! Finds lock files, and tells whether they count in this build.

use std::path::{Path, PathBuf};

/// The directory of the lock files.
const DIRECTORY: &str = "pubsub.lock.d";

/// The most directories that are searched, from that of the manifest upwards.
const MAX_LEVELS: usize = 16;

/// Files in the directory of a package that was published, vendored or checked out by cargo. Its user cannot change the
/// package, so nothing is checked there.
const SIGNS_OF_A_DEPENDENCY: [&str; 3] = ["Cargo.toml.orig", ".cargo-ok", ".cargo-checksum.json"];

/// The purpose of this build, from the environment variable `PUBSUB_LOCK`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// The variable is unset: types are compared with their lock files.
    Check,
    /// The variable is `off`, or the crate is a dependency: lock files are ignored.
    Off,
    /// `pubsub schema` has set the variable: a test writes the lock file, or checks it.
    Write,
}

/// The place of a lock file.
pub(super) struct Location {
    /// The directory that the lock file is in, or would be written to.
    pub(super) directory: String,
    /// The lock file, if it exists.
    pub(super) file: Option<PathBuf>,
    /// The lock file's path in messages.
    pub(super) shown: String,
}

pub(super) fn find(name: &str, version: u32) -> (Mode, Option<Location>) {
    let mode = match std::env::var("PUBSUB_LOCK").as_deref() {
        Ok("off") => Mode::Off,
        Ok("write" | "force" | "check") => Mode::Write,
        _ => Mode::Check,
    };
    let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from) else {
        return (mode, None);
    };
    if mode == Mode::Off
        || std::env::var_os("DOCS_RS").is_some()
        || SIGNS_OF_A_DEPENDENCY.iter().any(|file| manifest.join(file).exists())
    {
        return (Mode::Off, None);
    }
    let Some(directory) = directory(&manifest) else { return (mode, None) };
    let file = directory.join(format!("{name}.v{version}.json"));
    let location = Location {
        directory: directory.display().to_string(),
        file: file.is_file().then_some(file),
        shown: format!("{DIRECTORY}/{name}.v{version}.json"),
    };
    (mode, Some(location))
}

/// Returns the nearest directory of lock files, up to the root of the workspace, which is where `Cargo.lock` is.
fn directory(manifest: &Path) -> Option<PathBuf> {
    for level in manifest.ancestors().take(MAX_LEVELS) {
        let directory = level.join(DIRECTORY);
        if directory.is_dir() {
            return Some(directory);
        }
        if level.join("Cargo.lock").exists() {
            return None;
        }
    }
    None
}
