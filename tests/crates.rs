//! Channel names across crates: `cargo check` refuses two payload types with one name, even where no crate sees both.
//!
//! The tests write a small workspace into the target directory, and check its crates with the cargo that runs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The name, the dependencies and the source of each crate. Only the last three are checked by name.
const CRATES: &[(&str, &[&str], &str)] = &[
    ("billing", &[], BILLING),
    ("shipping", &[], SHIPPING),
    ("dependent", &["billing"], DEPENDENT),
    ("siblings", &["billing", "shipping"], SIBLINGS),
    ("apart", &["billing", "shipping"], APART),
];

const BILLING: &str = r#"
#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("order.paid")]
pub struct OrderPaid;

#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("envelope")]
pub struct Envelope<T>(pub T);
"#;

const SHIPPING: &str = r#"
#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("order.paid")]
pub struct PaidOrder;

#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("parcel.sent")]
pub struct ParcelSent;
"#;

const DEPENDENT: &str = r#"
use billing as _;

#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("order.paid")]
pub struct Paid;

#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("envelope")]
pub struct Parcel;
"#;

const SIBLINGS: &str = r#"
pub struct Ledger;

impl actix::Actor for Ledger {
    type Context = actix::Context<Self>;
}

impl<C: pubsub::Channel> actix::Handler<pubsub::Delivery<C>> for Ledger {
    type Result = pubsub::Handled;

    fn handle(&mut self, _: pubsub::Delivery<C>, _: &mut Self::Context) -> pubsub::Handled {
        Ok(())
    }
}

pubsub::routes! {
    pub App { billing::Envelope<u8> => Ledger, shipping::PaidOrder => Ledger }
}
"#;

const APART: &str = r#"
pub struct Ledger;

impl actix::Actor for Ledger {
    type Context = actix::Context<Self>;
}

impl<C: pubsub::Channel> actix::Handler<pubsub::Delivery<C>> for Ledger {
    type Result = pubsub::Handled;

    fn handle(&mut self, _: pubsub::Delivery<C>, _: &mut Self::Context) -> pubsub::Handled {
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
#[channel("order.paid.late")]
pub struct PaidLate;

pubsub::routes! {
    pub App {
        shipping::ParcelSent => Ledger,
        billing::Envelope<u8> => Ledger,
        PaidLate => Ledger,
    }
}
"#;

/// The root of the workspace, whose files are written on first use.
static WORKSPACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let ours =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a directory of the workspace");
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crates");
    let members: Vec<&str> = CRATES.iter().map(|(name, ..)| *name).collect();
    write(&root.join("Cargo.toml"), &format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"));
    // The same versions as in this build need no download.
    let lock = std::fs::read_to_string(ours.join("Cargo.lock")).expect("the workspace has a lock file");
    write(&root.join("Cargo.lock"), &lock);
    for (name, dependencies, source) in CRATES {
        let siblings: String =
            dependencies.iter().map(|of| format!("{of} = {{ path = \"../{of}\" }}\n")).collect();
        let pubsub = ours.join("pubsub");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             actix = \"*\"\nserde = {{ version = \"1\", features = [\"derive\"] }}\npubsub = {{ path = {pubsub:?} }}\n\
             {siblings}"
        );
        write(&root.join(name).join("Cargo.toml"), &manifest);
        write(&root.join(name).join("src/lib.rs"), source);
    }
    root
});

/// Writes a file unless it has that text already, because cargo checks a crate again when its files are newer.
fn write(path: &Path, text: &str) {
    if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a file is in a directory"))
        .expect("a directory beside the build");
    std::fs::write(path, text).expect("a file beside the build");
}

/// Checks one crate. Returns whether it compiles, and the compiler's output.
fn check(name: &str) -> (bool, String) {
    let done = Command::new(env!("CARGO"))
        .current_dir(&*WORKSPACE)
        .args(["check", "--offline", "--quiet", "--color", "never", "--package", name])
        .env("CARGO_TARGET_DIR", WORKSPACE.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn assert_says(output: &str, sentences: &[&str]) {
    for sentence in sentences {
        assert!(output.contains(sentence), "nothing says `{sentence}` in:\n{output}");
    }
}

#[test]
fn a_channel_name_taken_by_a_dependency_does_not_compile() {
    let (compiles, output) = check("dependent");
    assert!(!compiles, "compiled");
    assert_says(
        &output,
        &[
            "another `impl` found in the `billing` crate: `impl pubsub::__private::channel_name::DeclaredBy<OrderPaid> for \
             pubsub::__private::channel_name::ChannelName<'o', 'r', 'd', 'e', 'r', '.', 'p', 'a', 'i', 'd'>;`",
            // The two names.
            "--> dependent/src/lib.rs:5:11",
            "--> dependent/src/lib.rs:9:11",
        ],
    );
    assert_eq!(output.matches("error[").count(), 2, "one error for each name that is taken:\n{output}");
}

#[test]
fn routing_two_channels_of_one_name_does_not_compile() {
    let (compiles, output) = check("siblings");
    assert!(!compiles, "compiled");
    assert_says(
        &output,
        &[
            "found in the following crates: `billing`, `shipping`",
            "impl pubsub::__private::channel_name::DeclaredBy<OrderPaid> for",
            "impl pubsub::__private::channel_name::DeclaredBy<PaidOrder> for",
            // `PaidOrder` in the routes.
            "--> siblings/src/lib.rs:17:58",
        ],
    );
    assert_eq!(output.matches("error[").count(), 1, "expected one error:\n{output}");
}

#[test]
fn unique_channel_names_compile() {
    let (compiles, output) = check("apart");
    assert!(compiles, "refused:\n{output}");
}
