//! `pubsub schema lock` and `pubsub schema check`: lock files, written and compared.
//!
//! Only the user's crates know their types. So each derive generates a test while `PUBSUB_LOCK` is set. This module runs these
//! tests, which write or check the lock files, and prints their reports.

use clap::Args;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, process};

/// The directory of lock files, in the root of a workspace or in a crate.
const DIRECTORY: &str = "pubsub.lock.d";

/// The beginning of the tests' names.
const TESTS: &str = "pubsub_schema_of_";

#[derive(Debug, Args)]
pub(crate) struct Lock {
    /// Also replace lock files that do not match, for versions that were never deployed.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    cargo: Cargo,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    cargo: Cargo,
}

#[derive(Debug, Args)]
struct Cargo {
    /// Further arguments of `cargo test`, after `--`: `-- --features x`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Lock {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let root = workspace()?;
        if !is_opted_in(&root)? {
            fs::create_dir(root.join(DIRECTORY))?;
        }
        self.cargo.run(&root, if self.force { "force" } else { "write" })
    }
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let root = workspace()?;
        if !is_opted_in(&root)? {
            return Err(format!("there is no {DIRECTORY}: begin with `pubsub schema lock`").into());
        }
        self.cargo.run(&root, "check")
    }
}

/// Whether there is a directory of lock files, in the workspace or in the crate of the current directory.
fn is_opted_in(root: &Path) -> Result<bool, Box<dyn Error>> {
    let here = env::current_dir()?;
    Ok(root.join(DIRECTORY).is_dir() || here.join(DIRECTORY).is_dir())
}

/// Returns the root of the workspace that contains the current directory.
fn workspace() -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = cargo();
    cargo.args(["locate-project", "--workspace", "--message-format", "plain"]).stderr(Stdio::inherit());
    let output = cargo.output()?;
    let manifest = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let root = manifest
        .parent()
        .filter(|_| output.status.success())
        .ok_or("this is no directory of a cargo workspace")?;
    Ok(root.to_owned())
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

impl Cargo {
    /// Runs the tests and prints their reports. They write these into a file, because the test runner captures their output.
    fn run(&self, root: &Path, mode: &str) -> Result<ExitCode, Box<dyn Error>> {
        let report = env::temp_dir().join(format!("pubsub-lock-{}", process::id()));
        let mut tests = cargo();
        tests
            .args(["test", "--quiet", "--workspace", "--lib", "--bins"])
            .args(&self.arguments)
            .args(["--", TESTS]);
        tests.env("PUBSUB_LOCK", mode).env("PUBSUB_LOCK_REPORT", &report).stdout(Stdio::null());
        // A test fails if its lock file does not match. This is reported below, and not as a failed test.
        let status = tests.status()?;
        let told = fs::read_to_string(&report).unwrap_or_default();
        fs::remove_file(&report).unwrap_or_default();
        let mut told: Vec<&str> = told.lines().collect();
        told.sort_unstable();
        told.dedup();
        for line in &told {
            println!("{DIRECTORY}/{line}");
        }
        for file in forgotten(root, &told) {
            println!("{DIRECTORY}/{file} is of no type that derives `Channel` or `OlderVersion` (any more)");
        }
        if told.is_empty() && status.success() {
            println!("no channel was found in this workspace");
        }
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Returns the lock files in the root's directory that no test has reported.
fn forgotten(root: &Path, told: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(root.join(DIRECTORY)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let spoken_of = |name: &str| told.iter().any(|line| line.split(' ').next() == Some(name));
    let mut forgotten: Vec<String> =
        names.filter(|name| name.ends_with(".json") && !spoken_of(name)).collect();
    forgotten.sort_unstable();
    forgotten
}
