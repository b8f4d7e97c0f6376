//! Lock files: a breaking change of a payload fails the build, with both ways to resolve it. A compatible change compiles.
//!
//! Each test writes a small crate, checks it with the cargo that runs the test, and writes its lock files with the command
//! line.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The payload of the lock file: nested types, one that contains itself, and one without a shape.
const LOCKED: &str = r#"
use pubsub::{Channel, Shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid")]
pub struct OrderPaid {
    pub id: i64,
    #[serde(rename = "note")]
    pub remark: Option<String>,
    pub ship_to: Address,
    pub lines: Vec<Line>,
    pub method: Method,
    pub foreign: Foreign,
}

#[derive(Serialize, Deserialize, Shape)]
pub struct Address {
    pub street: String,
}

#[derive(Serialize, Deserialize, Shape)]
pub struct Line {
    pub article: String,
    pub parts: Vec<Line>,
}

#[derive(Serialize, Deserialize, Shape)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Card { last_digits: [u8; 4] },
    BankTransfer,
}

#[derive(Serialize, Deserialize)]
pub struct Foreign;
"#;

/// A crate in a directory of its own.
struct Crate {
    root: PathBuf,
}

impl Crate {
    fn new(name: &str) -> Self {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::remove_dir_all(&root).unwrap_or_default();
        fs::create_dir_all(root.join("src")).unwrap();
        // The same versions as in this build need no download.
        fs::copy(ours.join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
        let pubsub = ours.join("pubsub");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             pubsub = {{ path = {pubsub:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n"
        );
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        let this = Self { root };
        this.write(LOCKED);
        this
    }

    fn write(&self, source: &str) {
        fs::write(self.root.join("src/lib.rs"), source).unwrap();
    }

    /// Writes the payload of the lock file with some pieces replaced.
    fn change(&self, pieces: &[(&str, &str)]) {
        let mut source = LOCKED.to_owned();
        for (piece, replacement) in pieces {
            assert!(source.contains(piece), "{piece}");
            source = source.replace(piece, replacement);
        }
        self.write(&source);
    }

    fn run(&self, command: &mut Command) -> (bool, String) {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
        let Output { status, stdout, stderr } = command.env_remove("RUSTFLAGS").output().unwrap();
        let output = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.success(), output)
    }

    fn check(&self, environment: &[(&str, &str)]) -> (bool, String) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--color", "never"]).envs(environment.iter().copied());
        self.run(&mut cargo)
    }

    /// Runs `pubsub schema ..`. Returns whether it succeeds, and its output.
    fn schema(&self, arguments: &[&str]) -> (bool, String) {
        self.run(Command::new(command_line()).arg("schema").args(arguments))
    }

    fn compiles(&self) {
        let (compiles, output) = self.check(&[]);
        assert!(compiles, "{output}");
    }

    /// Asserts that the crate does not compile, and that the output contains these sentences.
    fn refused(&self, sentences: &[&str]) {
        let (compiles, output) = self.check(&[]);
        assert!(!compiles, "compiled");
        for sentence in sentences {
            assert!(output.contains(sentence), "nothing says `{sentence}` in:\n{output}");
        }
        assert!(
            output.contains("or make this version 2: write `version = 2, upcast_from = OrderPaidV1`"),
            "{output}"
        );
        assert!(output.contains("as recorded in pubsub.lock.d/order.paid.v1.json"), "{output}");
        assert!(output.contains("due to 1 previous error"), "expected one error:\n{output}");
    }
}

/// Builds the command line, and returns its path.
fn command_line() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "pubsub", "--features", "cli", "--bin", "pubsub"]);
    let built = cargo.env("CARGO_TARGET_DIR", target).status().unwrap();
    assert!(built.success());
    target.join("debug/pubsub")
}

#[test]
fn a_breaking_change_of_a_locked_payload_fails_the_build() {
    let this = Crate::new("locked");
    this.compiles();
    let (found, output) = this.schema(&["check"]);
    assert!(!found && output.contains("there is no pubsub.lock.d"), "{output}");

    let (written, output) = this.schema(&["lock"]);
    assert!(written, "{output}");
    assert!(output.starts_with("pubsub.lock.d/order.paid.v1.json was written\n"), "{output}");
    this.compiles();
    let (same, output) = this.schema(&["check"]);
    assert!(same && output.contains("order.paid.v1.json is up to date"), "{output}");

    // A change of the payload is reported on its field.
    this.change(&[("pub id: i64,", "pub id: u32,")]);
    this.refused(&["field `id` has changed", "either restore `id`", "|     pub id: u32,\n  |         ^^"]);
    this.change(&[("    pub id: i64,\n", "")]);
    this.refused(&["field `id` is missing", "pub struct OrderPaid {\n  |            ^^^^^^^^^"]);
    this.change(&[("pub id: i64,", "pub id: i64, pub total: u64,")]);
    this.refused(&[
        "field `total` is new",
        "either add `#[serde(default)]` to `total`, or make it an `Option`",
    ]);
    this.change(&[("    #[serde(rename = \"note\")]\n", "")]);
    this.refused(&["field `note` is missing"]);
    this.change(&[("#[channel", "#[serde(deny_unknown_fields)]\n#[channel")]);
    this.refused(&["the type, or a serde attribute on it, has changed"]);
    // A change of a nested type is reported on the field that contains it.
    this.change(&[("pub street: String,", "pub street: String, pub city: String,")]);
    this.refused(&["field `ship_to` has changed", "|     pub ship_to: Address,\n   |         ^^^^^^^"]);
    this.change(&[("pub article: String,", "pub article: u64,")]);
    this.refused(&["field `lines` has changed"]);
    this.change(&[("BankTransfer,", "Transfer,")]);
    this.refused(&["field `method` has changed"]);
    this.change(&[("[u8; 4]", "[u8; 5]")]);
    this.refused(&["field `method` has changed"]);
    let (locked, output) = this.schema(&["lock"]);
    assert!(!locked && output.contains("order.paid.v1.json is incompatible with the type"), "{output}");
    let (locked, output) = this.schema(&["lock", "--force"]);
    assert!(locked && output.contains("order.paid.v1.json was written"), "{output}");
    this.compiles();
    this.write(LOCKED);
    this.refused(&["field `method` has changed"]);

    // Lock files do not count where the crate is built as a dependency.
    let (compiles, output) = this.check(&[("PUBSUB_LOCK", "off")]);
    assert!(compiles, "{output}");
    this.refused(&["field `method` has changed"]);
    let (compiles, output) = this.check(&[("DOCS_RS", "1")]);
    assert!(compiles, "{output}");
    fs::write(this.root.join("Cargo.toml.orig"), "").unwrap();
    this.write(&format!("{LOCKED}\n"));
    this.compiles();
}

#[test]
fn a_compatible_change_compiles_and_asks_for_a_new_lock_file() {
    let this = Crate::new("renewed");
    let (written, output) = this.schema(&["lock"]);
    assert!(written, "{output}");
    // Order, comments and names that are not in the JSON do not count.
    this.change(&[
        ("    pub id: i64,\n", ""),
        ("pub foreign: Foreign,", "pub foreign: Foreign,\n    /// The order.\n    pub id: i64,"),
        ("pub remark: ", "pub comment: "),
        ("BankTransfer", "#[serde(rename = \"bank_transfer\")] Wire"),
    ]);
    this.compiles();
    let (same, output) = this.schema(&["check"]);
    assert!(same, "{output}");

    this.change(&[
        ("pub id: i64,", "pub id: i64, #[serde(default)] pub total: u64, pub voucher: Option<String>,"),
        ("pub street: String,", "pub street: String, pub city: Option<String>,"),
        ("pub article: String,", "#[serde(alias = \"item\")] pub article: String,"),
    ]);
    this.compiles();
    let (same, output) = this.schema(&["check"]);
    assert!(
        !same && output.contains("order.paid.v1.json is out of date, but the change is compatible"),
        "{output}"
    );
    let (written, output) = this.schema(&["lock"]);
    assert!(written, "{output}");
    let (same, output) = this.schema(&["check"]);
    assert!(same, "{output}");
    // cargo compiles the crate again, because the lock file has changed.
    this.change(&[
        ("pub id: i64,", "pub id: i64, pub voucher: Option<String>,"),
        ("pub street: String,", "pub street: String, pub city: Option<String>,"),
        ("pub article: String,", "#[serde(alias = \"item\")] pub article: String,"),
    ]);
    this.refused(&["field `total` is missing"]);
}

#[test]
fn a_new_version_keeps_the_lock_file_of_the_old_one() {
    let this = Crate::new("versioned");
    let (written, output) = this.schema(&["lock"]);
    assert!(written, "{output}");
    let older = LOCKED
        .replace("Channel)]", "OlderVersion)]")
        .replace("pubsub::{Channel, Shape}", "pubsub::{Channel, OlderVersion, Shape}")
        .replace("#[channel(\"order.paid\")]", "#[channel(\"order.paid\", version = 1)]")
        .replace("struct OrderPaid", "struct OrderPaidV1");
    let newer = r#"
#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", version = 2, upcast_from = OrderPaidV1)]
pub struct OrderPaid {
    pub id: u64,
}

impl From<OrderPaidV1> for OrderPaid {
    fn from(old: OrderPaidV1) -> Self {
        Self { id: old.id.unsigned_abs() }
    }
}
"#;
    this.write(&format!("{older}{newer}"));
    this.compiles();
    let (written, output) = this.schema(&["lock"]);
    assert!(written && output.contains("order.paid.v1.json is up to date"), "{output}");
    assert!(output.contains("order.paid.v2.json was written"), "{output}");
    this.write(
        &format!("{}{newer}", older.replace("pub id: i64", "pub id: i128"))
            .replace("old.id.unsigned_abs()", "1"),
    );
    let (compiles, output) = this.check(&[]);
    assert!(
        !compiles && output.contains("field `id` has changed: this breaks version 1 of channel `order.paid`"),
        "{output}"
    );
}
