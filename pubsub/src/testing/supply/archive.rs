//! An archive of PostgreSQL's programs, compressed as `.tar.gz`, with the checksum that was known before.

use super::cache::Cache;
use super::http;
use super::problem::Problem;
use super::progress::tell;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::env;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// The environment variable with the archive's address: a path, `http://..` or `https://..`.
const ADDRESS: &str = "PUBSUB_POSTGRES_ARCHIVE";

/// The environment variable with its SHA-256.
const CHECKSUM: &str = "PUBSUB_POSTGRES_ARCHIVE_SHA256";

/// The digits of a SHA-256.
const DIGITS: usize = 64;

/// The digits that tell one entry of the cache from another. The whole checksum is compared before there is an entry.
const KEY_DIGITS: usize = 16;

/// The largest size of the files in an archive. PostgreSQL with all its tools has less than 100 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The largest number of files. PostgreSQL has about 2,000.
const MAX_FILES: usize = 50_000;

const BUFFER_BYTES: usize = 64 * 1024;

/// An archive that the environment names.
pub(super) struct Archive {
    address: String,
    checksum: String,
}

impl Archive {
    /// `None` unless the environment names one.
    pub(super) fn of_environment() -> Option<Result<Self, Problem>> {
        let address = env::var(ADDRESS).ok().filter(|address| !address.is_empty())?;
        let checksum = env::var(CHECKSUM).unwrap_or_default();
        // The file of a checksum often has the name of the archive after it.
        let checksum = checksum.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        let is_checksum = checksum.len() == DIGITS && checksum.bytes().all(|digit| digit.is_ascii_hexdigit());
        let problem =
            || Problem::new(format!("set {CHECKSUM} to its SHA-256, which has {DIGITS} hexadecimal digits"));
        Some(if is_checksum { Ok(Self { address, checksum }) } else { Err(problem()) })
    }

    /// The directory of its programs.
    pub(super) fn get(&self, cache: &Cache) -> Result<PathBuf, Problem> {
        cache.get(&format!("archive-{}", &self.checksum[..KEY_DIGITS]), |part| {
            let file = if http::is_address(&self.address) {
                let file = part.scratch().join("archive");
                tell(&format!("getting PostgreSQL, once, from {}", http::shown(&self.address)));
                http::download(&self.address, &file)?;
                file
            } else {
                self.address.clone().into()
            };
            unpack(&file, &self.checksum, &part.files())
        })
    }
}

/// The archive's address as the environment has it, for people to read.
pub(super) fn shown_address() -> String {
    format!("{} ({ADDRESS})", http::shown(&env::var(ADDRESS).unwrap_or_default()))
}

/// Unpacks a file into a directory, if it has that checksum.
pub(super) fn unpack(file: &Path, checksum: &str, into: &Path) -> Result<(), Problem> {
    let open = || File::open(file).map_err(Problem::system(format!("`{}` cannot be read", file.display())));
    let found = sha256(open()?).map_err(Problem::system(format!("`{}` cannot be read", file.display())))?;
    if found != checksum {
        return Err(Problem::new(format!(
            "its SHA-256 is {found} instead of {checksum}: it is another file, or was changed on its way"
        )));
    }
    let broken = || Problem::system("it cannot be unpacked as a .tar.gz");
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(open()?)));
    let (mut files, mut bytes) = (0, 0_u64);
    for entry in archive.entries().map_err(broken())? {
        let mut entry = entry.map_err(broken())?;
        files += 1;
        bytes = entry.size().saturating_add(bytes);
        if files > MAX_FILES || bytes > MAX_FILE_BYTES {
            return Err(Problem::new(format!(
                "it has more than {MAX_FILES} files, or more than {MAX_FILE_BYTES} bytes in them"
            )));
        }
        if !entry.unpack_in(into).map_err(broken())? {
            return Err(Problem::new("it has a file with a path that leads out of it"));
        }
    }
    Ok(())
}

fn sha256(mut file: File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => digest.update(&buffer[..read]),
        }
    }
}
