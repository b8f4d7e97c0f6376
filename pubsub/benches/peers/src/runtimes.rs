//! Node and Python, where this machine has them, with the peers of each installed beside this program.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The oldest version of Node that the peers support.
const OLDEST_NODE: u32 = 22;

const NODE_FILES: [(&str, &str); 5] = [
    ("package.json", include_str!("../node/package.json")),
    ("package-lock.json", include_str!("../node/package-lock.json")),
    ("process.mjs", include_str!("../node/process.mjs")),
    ("graphile_worker.mjs", include_str!("../node/graphile_worker.mjs")),
    ("pg_boss.mjs", include_str!("../node/pg_boss.mjs")),
];

const PYTHON_FILES: [(&str, &str); 2] = [
    ("requirements.txt", include_str!("../python/requirements.txt")),
    ("pgqueuer_peer.py", include_str!("../python/pgqueuer_peer.py")),
];

static NODE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Returns a command that runs a script in Node.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) fn node(script: &str) -> Result<Command> {
    let place = NODE.get_or_init(|| install_node().map_err(|error| format!("{error:#}")));
    let place = place.as_ref().map_err(|error| anyhow::anyhow!(error.clone()))?;
    // The program itself, whose time is measured, and not one that starts it.
    let program = output(Command::new("node").args(["-p", "process.execPath"]))?;
    let mut command = Command::new(program);
    command.arg(place.join(script));
    Ok(command)
}

/// Returns a command that runs a script in Python.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) fn python(script: &str) -> Result<Command> {
    let place = PYTHON.get_or_init(|| install_python().map_err(|error| format!("{error:#}")));
    let place = place.as_ref().map_err(|error| anyhow::anyhow!(error.clone()))?;
    let mut command = Command::new(place.join("venv/bin/python"));
    command.arg(place.join(script));
    Ok(command)
}

fn install_node() -> Result<PathBuf> {
    let version = output(Command::new("node").arg("--version")).context("no Node")?;
    let major: u32 = version.trim_start_matches('v').split('.').next().unwrap_or_default().parse()?;
    ensure!(major >= OLDEST_NODE, "Node {version} is older than {OLDEST_NODE}");
    let place = unpack("peers-node", &NODE_FILES)?;
    output(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(&place))
        .context("npm cannot install the peers")?;
    Ok(place)
}

fn install_python() -> Result<PathBuf> {
    output(Command::new("python3").arg("--version")).context("no Python")?;
    let place = unpack("peers-python", &PYTHON_FILES)?;
    output(Command::new("python3").args(["-m", "venv", "venv"]).current_dir(&place))
        .context("Python has no venv")?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
    output(Command::new(place.join("venv/bin/python")).args(pip).current_dir(&place))
        .context("pip cannot install the peer")?;
    Ok(place)
}

/// Writes files into a directory beside this program.
fn unpack(name: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let place = std::env::current_exe()?.with_file_name(name);
    fs::create_dir_all(&place)?;
    for (file, text) in files {
        fs::write(place.join(file), text)?;
    }
    Ok(place)
}

/// Runs a command and returns what it prints, without the last line's end.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
