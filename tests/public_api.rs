//! The public interface of `pubsub`, compared with `tests/public-api.txt`.
//!
//! It is read from rustdoc's JSON, whose format changes with the toolchain. With a toolchain whose format the reader does
//! not know, the comparison is left out, and the test says so; the names at the root are counted in any case.
//!
//! After a change that is meant: `PUBSUB_UPDATE=1 cargo test -p pubsub-tests --test public_api`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

/// Most names at the root of the crate. A derive and the trait of its name count once.
const MAX_ROOT_NAMES: usize = 32;

/// The format that the `public-api` of `tests/Cargo.toml` reads: that of Rust 1.95.
const FORMAT: u64 = 57;

/// A `rustdoc` that may write JSON. Only rustdoc is told so: a `RUSTC_BOOTSTRAP` of the whole build would build the
/// dependencies again.
const RUSTDOC: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

/// The file that rustdoc has written.
static JSON: LazyLock<PathBuf> = LazyLock::new(|| {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let rustdoc = scratch.join("rustdoc-json");
    fs::write(&rustdoc, RUSTDOC).expect("the target directory can be written to");
    make_executable(&rustdoc);
    let target = scratch.parent().expect("the scratch directory is in the target directory");
    let output = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "-p", "pubsub", "--lib", "--all-features", "--target-dir"])
        .arg(target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RUSTDOC", &rustdoc)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("doc/pubsub.json")
});

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a file of ours");
}

fn json() -> serde_json::Value {
    serde_json::from_slice(&fs::read(&*JSON).expect("rustdoc's file")).expect("rustdoc writes JSON")
}

#[test]
fn the_public_interface_is_as_recorded() {
    let format = json()["format_version"].as_u64();
    if format != Some(FORMAT) {
        eprintln!("NOT COMPARED: this rustdoc writes format {format:?}, and the reader knows {FORMAT}");
        return;
    }
    let api = public_api::Builder::from_rustdoc_json(&*JSON).sorted(true).omit_blanket_impls(true);
    let api = api.omit_auto_trait_impls(true).build().expect("a known format");
    let lines: Vec<String> = api.items().map(ToString::to_string).collect();
    let now = lines.join("\n") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("public-api.txt");
    if env::var_os("PUBSUB_UPDATE").is_some() {
        fs::write(golden, now).expect("the golden file can be written to");
        return;
    }
    let before = fs::read_to_string(golden).expect("the golden file");
    let (before, now): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), now.lines().collect());
    let gone = before.difference(&now).map(|line| format!("- {line}\n"));
    let new = now.difference(&before).map(|line| format!("+ {line}\n"));
    let changed: String = gone.chain(new).collect();
    assert!(
        changed.is_empty(),
        "the public interface has changed:\n{changed}if that is meant, run \
         `PUBSUB_UPDATE=1 cargo test -p pubsub-tests --test public_api`, and tell it in CHANGELOG.md"
    );
}

#[test]
fn the_root_has_few_names() {
    let json = json();
    let item = |id: &serde_json::Value| json["index"][id.to_string()].clone();
    let root = item(&json["root"]);
    let names: BTreeSet<String> = root["inner"]["module"]["items"]
        .as_array()
        .expect("the root is a module")
        .iter()
        .map(item)
        .filter_map(|item| item["inner"]["use"]["name"].as_str().or(item["name"].as_str()).map(str::to_owned))
        .collect();
    assert!((20..=MAX_ROOT_NAMES).contains(&names.len()), "{} names: {names:?}", names.len());
}
