//! Finds the migrations of the peers whose documentation tells their users to copy them, and that offer no function for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The packages, and the directories of their migrations.
const PACKAGES: [(&str, &str); 2] = [("sqlxmq", "migrations"), ("fang", "postgres_migrations/migrations")];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let cargo = env::var("CARGO")?;
    // Only this platform's packages are here.
    let platform = env::var("TARGET")?;
    let arguments =
        ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform];
    let output = Command::new(cargo).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists packages")?;
    for (name, directory) in PACKAGES {
        let package = packages.iter().find(|package| package["name"] == name).ok_or(name)?;
        let manifest = package["manifest_path"].as_str().ok_or("a package has a manifest")?;
        let migrations = Path::new(manifest).with_file_name(directory);
        let place = Path::new(&env::var("OUT_DIR")?).join(format!("{name}.sql"));
        fs::write(place, concatenate(&migrations)?)?;
    }
    Ok(())
}

/// The migrations of a directory, in their order: files `*.up.sql`, or directories with a file `up.sql`.
fn concatenate(directory: &Path) -> std::io::Result<String> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    let mut sql = String::new();
    for entry in entries {
        let file = if entry.is_dir() { entry.join("up.sql") } else { entry };
        if file.to_string_lossy().ends_with("up.sql") && file.exists() {
            sql += &fs::read_to_string(file)?;
            sql.push('\n');
        }
    }
    Ok(sql)
}
