//! A server's clock that can be set, with libfaketime.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The library that answers for the system's clock.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The places of libraries on the systems of this project's tests.
const PLACES: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];

/// The programs of a server whose clock can be set, in a directory that is deleted with this value.
#[derive(Debug)]
pub(crate) struct Clock {
    directory: PathBuf,
}

impl Clock {
    /// Prepares the programs of the server in `binaries`.
    pub(crate) fn create(binaries: &Path) -> Result<Self, String> {
        let library =
            PLACES.iter().map(|place| Path::new(place).join(LIBRARY)).find(|library| library.exists());
        let library = library.ok_or("libfaketime is not installed")?;
        let directory = std::env::temp_dir().join(format!("pubsub-clock-{:016x}", fastrand::u64(..)));
        let clock = Self { directory };
        clock.fill(binaries, &library).map_err(|error| error.to_string())?;
        Ok(clock)
    }

    fn fill(&self, binaries: &Path, library: &Path) -> io::Result<()> {
        fs::create_dir(&self.directory)?;
        fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o755))?;
        for program in fs::read_dir(binaries)? {
            let program = program?;
            let name = program.file_name();
            let own = self.directory.join(&name);
            // A link to `initdb` would lead to the directory of the true `postgres`.
            let environment = match name.to_str() {
                Some("initdb") => String::new(),
                Some("postgres") => format!(
                    "env LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 ",
                    library.display(),
                    self.file().display()
                ),
                _ => {
                    symlink(program.path(), own)?;
                    continue;
                }
            };
            fs::write(&own, format!("#!/bin/sh\nexec {environment}{} \"$@\"\n", program.path().display()))?;
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
        }
        self.set(0)
    }

    fn file(&self) -> PathBuf {
        self.directory.join("offset")
    }

    /// The directory of the programs.
    pub(crate) fn binaries(&self) -> PathBuf {
        self.directory.clone()
    }

    /// Sets the clock to a time this many minutes from the true one.
    pub(crate) fn set(&self, minutes: i32) -> io::Result<()> {
        // In one step, so that nobody reads half of it.
        let new = self.directory.join("new");
        fs::write(&new, format!("{minutes:+}m\n"))?;
        fs::rename(new, self.file())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // A directory that is left behind harms nobody.
        fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}
