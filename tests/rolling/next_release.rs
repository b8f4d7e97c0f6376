//! A build of an artificial next release: this library with one more migration and with changed functions.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The next release's migration. Each table that it changes is in use by every process.
const MIGRATION: &str = "-- The next release: one more column in the tables that are in use most.
--
-- Locks: access exclusive on four tables, for the length of the transaction.

alter table pubsub.db_events add column note text;
alter table pubsub.cursors add column note text;
alter table pubsub.leases add column note text;
alter table pubsub.mailbox add column note text not null default '';
";

/// The versions in the source of this release, and in that of the next one.
const VERSIONS: [&str; 2] = [
    r#"migrations![1 "tables" compatible from 1]"#,
    r#"migrations![1 "tables" compatible from 1, 2 "next" compatible from 1]"#,
];

/// A private function that many others call, and its name in the next release.
const RENAMED: [&str; 2] = ["pubsub.log_sequence(", "pubsub.newest_id("];

const WORKER: &str = r#"
#[expect(dead_code, reason = "the other half is the parent's")]
mod child_process;
mod deadline;
mod worker;

#[actix::main]
async fn main() {
    let (url, report) = child_process::in_child_process().expect("started by a test");
    worker::work("next", &url, report).await;
}
"#;

/// The path of the next release's worker, built.
pub(crate) static WORKER_OF_NEXT_RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a directory of the workspace");
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("next_release");
    let mut next = Tree { root: root.clone(), written: HashSet::new() };
    for package in ["pubsub", "pubsub-derive"] {
        next.copy(&ours.join(package), Path::new(package));
    }
    next.write(Path::new("pubsub/migrations/V2__next.sql"), MIGRATION);
    let manifest = read(&ours.join("Cargo.toml"));
    let members = r#"members = ["pubsub", "pubsub-derive", "worker"]"#;
    let manifest = manifest.lines().map(|line| if line.starts_with("members = ") { members } else { line });
    let manifest = manifest.filter(|line| !line.starts_with("default-members = "));
    next.write(Path::new("Cargo.toml"), &manifest.map(|line| format!("{line}\n")).collect::<String>());
    // The versions that are built already, and so nothing to download.
    next.write(Path::new("Cargo.lock"), &read(&ours.join("Cargo.lock")));
    let dependencies = ["actix", "pubsub", "serde", "tokio", "tokio-postgres"];
    let dependencies = dependencies.map(|name| format!("{name}.workspace = true\n")).concat();
    let manifest =
        format!("[package]\nname = \"worker\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}");
    next.write(Path::new("worker/Cargo.toml"), &manifest);
    next.write(Path::new("worker/src/main.rs"), WORKER);
    next.write(Path::new("worker/src/worker.rs"), include_str!("worker.rs"));
    next.write(Path::new("worker/src/child_process.rs"), include_str!("../src/child_process.rs"));
    next.write(Path::new("worker/src/deadline.rs"), include_str!("../src/deadline.rs"));
    next.remove_others();
    let built = Command::new(env!("CARGO"))
        .current_dir(&root)
        .args(["build", "--offline", "--quiet", "--package", "worker"])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the next release does not build");
    root.join("target/debug/worker")
});

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a file of this release as it is in the next one.
fn of_next_release(path: &Path, text: &str) -> String {
    let replace = |[old, new]: [&str; 2]| {
        assert!(text.contains(old), "{} does not contain `{old}`", path.display());
        text.replace(old, new)
    };
    if path.ends_with("migrate/tables.rs") {
        replace(VERSIONS)
    } else if path.ends_with("functions/claim.sql") {
        replace(RENAMED).replace("as $$\n", "as $$\n-- Changed by the next release.\n")
    } else if path.extension().is_some_and(|extension| extension == "sql") {
        text.replace(RENAMED[0], RENAMED[1]).replace("as $$\n", "as $$\n-- Changed by the next release.\n")
    } else {
        text.to_owned()
    }
}

/// A directory whose files are written only if they change, because their times tell cargo what to build again.
struct Tree {
    root: PathBuf,
    written: HashSet<PathBuf>,
}

impl Tree {
    fn copy(&mut self, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
            let from = entry.expect("an entry of the directory").path();
            let to = to.join(from.file_name().expect("an entry has a name"));
            if from.is_dir() {
                self.copy(&from, &to);
            } else {
                self.write(&to, &of_next_release(&to, &read(&from)));
            }
        }
    }

    fn write(&mut self, path: &Path, text: &str) {
        let path = self.root.join(path);
        if !fs::read_to_string(&path).is_ok_and(|found| found == text) {
            fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory");
            fs::write(&path, text).expect("a file beside the build");
        }
        self.written.insert(path);
    }

    /// Removes the files of an earlier run that are no longer part of a package.
    fn remove_others(&self) {
        for package in ["pubsub", "pubsub-derive", "worker"] {
            self.remove_others_in(&self.root.join(package));
        }
    }

    fn remove_others_in(&self, directory: &Path) {
        for entry in fs::read_dir(directory).expect("a directory of ours") {
            let path = entry.expect("an entry of the directory").path();
            if path.is_dir() {
                self.remove_others_in(&path);
            } else if !self.written.contains(&path) {
                fs::remove_file(&path).expect("a file of ours");
            }
        }
    }
}
