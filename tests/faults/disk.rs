//! A disk that can be full: a small file system in memory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of the disk. A fresh database takes half of it.
const SIZE: &str = "48m";

/// A small file system, unmounted when this value is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let complaint = || format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(complaint)
}

impl Disk {
    /// Mounts a disk that belongs to the account of the server. Only root may do that.
    pub(crate) fn mount() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("pubsub-disk-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let disk = Self { path };
        run("mount", &["-t", "tmpfs", "-o", &format!("size={SIZE},mode=777"), "tmpfs", &disk.name()])?;
        std::fs::create_dir(disk.tablespace()).map_err(|error| error.to_string())?;
        run("chown", &["postgres", &disk.tablespace().display().to_string()])?;
        Ok(disk)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The directory for a tablespace.
    pub(crate) fn tablespace(&self) -> PathBuf {
        self.path.join("tablespace")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server that has not let go of it yet does so when it ends.
        if let Err(error) = run("umount", &["--lazy", &self.name()]) {
            eprintln!("{error}");
        }
        std::fs::remove_dir(&self.path).unwrap_or_default();
    }
}

fn ballast(tablespace: &Path) -> PathBuf {
    tablespace.with_file_name("ballast")
}

/// Fills the disk of a tablespace.
pub(crate) fn fill(tablespace: &Path) {
    let mut file = std::fs::File::create(ballast(tablespace)).expect("a file");
    // Less and less, until not a page is left.
    for size in [1 << 20, 1 << 12] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// Makes room again.
pub(crate) fn free(tablespace: &Path) {
    // There may be no ballast.
    std::fs::remove_file(ballast(tablespace)).unwrap_or_default();
}
