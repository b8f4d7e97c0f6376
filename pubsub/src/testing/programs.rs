//! Programs on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Whether `directory` has the programs that start a server.
pub(super) fn has_server(directory: &Path) -> bool {
    is_program(&directory.join("initdb")) && is_program(&directory.join("postgres"))
}

pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The program that a shell with this `PATH` would run. Without `PATH`, the system's own search would look in `/bin`.
pub(super) fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|directory| directory.join(name)).find(|program| is_program(program))
}
