//! Lock files: a change that breaks a payload fails the build, and says both ways out; one that breaks nothing compiles.
//!
//! A small crate is written beside the build, checked by the cargo that runs this test, and locked by the command line.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The payload as it is locked: nested types, one that comes back to itself, and one that has no shape.
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

/// A crate of its own.
struct Crate {
    root: PathBuf,
}

impl Crate {
    fn new(name: &str) -> Self {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::remove_dir_all(&root).unwrap_or_default();
        fs::create_dir_all(root.join("src")).unwrap();
        // The versions that are built already, and so nothing to download.
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

    /// The locked payload with pieces replaced.
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
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        (status.success(), said)
    }

    fn check(&self, environment: &[(&str, &str)]) -> (bool, String) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--quiet", "--color", "never"]).envs(environment.iter().copied());
        self.run(&mut cargo)
    }

    /// `pubsub schema ..`
    fn schema(&self, arguments: &[&str]) -> (bool, String) {
        self.run(Command::new(command_line()).arg("schema").args(arguments))
    }

    fn compiles(&self) {
        let (compiles, said) = self.check(&[]);
        assert!(compiles, "{said}");
    }

    /// Does not compile, and says these sentences, each with the line that it points at.
    fn refused(&self, sentences: &[&str]) {
        let (compiles, said) = self.check(&[]);
        assert!(!compiles, "compiled");
        for sentence in sentences {
            assert!(said.contains(sentence), "nothing says `{sentence}` in:\n{said}");
        }
        assert!(said.contains("or make it version 2: `version = 2, upcast_from = OrderPaidV1`"), "{said}");
        assert!(said.contains("is locked in pubsub.lock.d/order.paid.v1.json"), "{said}");
        assert!(said.contains("due to 1 previous error"), "one mistake, one error:\n{said}");
    }
}

/// The command line, built.
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
    let (found, said) = this.schema(&["check"]);
    assert!(!found && said.contains("there is no pubsub.lock.d"), "{said}");

    let (written, said) = this.schema(&["lock"]);
    assert!(written, "{said}");
    assert!(said.starts_with("pubsub.lock.d/order.paid.v1.json was written\n"), "{said}");
    this.compiles();
    let (same, said) = this.schema(&["check"]);
    assert!(same && said.contains("order.paid.v1.json is up to date"), "{said}");

    // At the top, on the field.
    this.change(&[("pub id: i64,", "pub id: u32,")]);
    this.refused(&[
        "field `id` is not what it was",
        "either make `id`",
        "|     pub id: u32,\n  |         ^^",
    ]);
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
    this.refused(&["the type, or an attribute of serde on it, has changed"]);
    // Further down, on the field that leads there.
    this.change(&[("pub street: String,", "pub street: String, pub city: String,")]);
    this.refused(&[
        "field `ship_to` is not what it was",
        "|     pub ship_to: Address,\n   |         ^^^^^^^",
    ]);
    this.change(&[("pub article: String,", "pub article: u64,")]);
    this.refused(&["field `lines` is not what it was"]);
    this.change(&[("BankTransfer,", "Transfer,")]);
    this.refused(&["field `method` is not what it was"]);
    this.change(&[("[u8; 4]", "[u8; 5]")]);
    this.refused(&["field `method` is not what it was"]);
    let (locked, said) = this.schema(&["lock"]);
    assert!(!locked && said.contains("order.paid.v1.json is not what the type is now"), "{said}");
    let (locked, said) = this.schema(&["lock", "--force"]);
    assert!(locked && said.contains("order.paid.v1.json was written"), "{said}");
    this.compiles();
    this.write(LOCKED);
    this.refused(&["field `method` is not what it was"]);

    // Nobody but the builder of the crate is held to it.
    let (compiles, said) = this.check(&[("PUBSUB_LOCK", "off")]);
    assert!(compiles, "{said}");
    this.refused(&["field `method` is not what it was"]);
    let (compiles, said) = this.check(&[("DOCS_RS", "1")]);
    assert!(compiles, "{said}");
    fs::write(this.root.join("Cargo.toml.orig"), "").unwrap();
    this.write(&format!("{LOCKED}\n"));
    this.compiles();
}

#[test]
fn a_compatible_change_compiles_and_asks_for_a_new_lock_file() {
    let this = Crate::new("renewed");
    let (written, said) = this.schema(&["lock"]);
    assert!(written, "{said}");
    // Order, names that are not in the JSON, comments, patience.
    this.change(&[
        ("    pub id: i64,\n", ""),
        ("pub foreign: Foreign,", "pub foreign: Foreign,\n    /// The order.\n    pub id: i64,"),
        ("pub remark: ", "pub comment: "),
        ("BankTransfer", "#[serde(rename = \"bank_transfer\")] Wire"),
    ]);
    this.compiles();
    let (same, said) = this.schema(&["check"]);
    assert!(same, "{said}");

    this.change(&[
        ("pub id: i64,", "pub id: i64, #[serde(default)] pub total: u64, pub voucher: Option<String>,"),
        ("pub street: String,", "pub street: String, pub city: Option<String>,"),
        ("pub article: String,", "#[serde(alias = \"item\")] pub article: String,"),
    ]);
    this.compiles();
    let (same, said) = this.schema(&["check"]);
    assert!(!same && said.contains("order.paid.v1.json is out of date, by a compatible change"), "{said}");
    let (written, said) = this.schema(&["lock"]);
    assert!(written, "{said}");
    let (same, said) = this.schema(&["check"]);
    assert!(same, "{said}");
    // The file has changed, and so the crate is compiled again.
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
    let (written, said) = this.schema(&["lock"]);
    assert!(written, "{said}");
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
    let (written, said) = this.schema(&["lock"]);
    assert!(written && said.contains("order.paid.v1.json is up to date"), "{said}");
    assert!(said.contains("order.paid.v2.json was written"), "{said}");
    this.write(
        &format!("{}{newer}", older.replace("pub id: i64", "pub id: i128"))
            .replace("old.id.unsigned_abs()", "1"),
    );
    let (compiles, said) = this.check(&[]);
    assert!(
        !compiles && said.contains("field `id` is not what it was: version 1 of channel `order.paid`"),
        "{said}"
    );
}
