//! Where lock files are, and whether they count in this build.

use std::path::{Path, PathBuf};

/// The directory's name.
const DIRECTORY: &str = "pubsub.lock.d";

/// Directories that are looked into, from the manifest's upwards.
const MOST_LEVELS: usize = 16;

/// Files in the directory of a package that was published, vendored or checked out by cargo. Whoever builds that cannot
/// change it, so nothing is held against anything there.
const OF_OTHERS: [&str; 3] = ["Cargo.toml.orig", ".cargo-ok", ".cargo-checksum.json"];

/// What `PUBSUB_LOCK` says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mode {
    /// Unset: locks are checked.
    Check,
    /// `off`, or the crate is not its builder's.
    Off,
    /// Set by `pubsub schema`: locks are written, or compared, by a test.
    Write,
}

pub(super) struct Place {
    /// Where the lock is, or would be written.
    pub(super) directory: String,
    /// The lock, if there is one.
    pub(super) file: Option<PathBuf>,
    /// The lock's path, for people.
    pub(super) shown: String,
}

pub(super) fn find(name: &str, version: u32) -> (Mode, Option<Place>) {
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
        || OF_OTHERS.iter().any(|file| manifest.join(file).exists())
    {
        return (Mode::Off, None);
    }
    let Some(directory) = directory(&manifest) else { return (mode, None) };
    let file = directory.join(format!("{name}.v{version}.json"));
    let place = Place {
        directory: directory.display().to_string(),
        file: file.is_file().then_some(file),
        shown: format!("{DIRECTORY}/{name}.v{version}.json"),
    };
    (mode, Some(place))
}

/// The nearest one, up to the root of the workspace, where `Cargo.lock` is.
fn directory(manifest: &Path) -> Option<PathBuf> {
    for level in manifest.ancestors().take(MOST_LEVELS) {
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
