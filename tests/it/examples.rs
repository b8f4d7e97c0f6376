//! The small examples run, exit, and print the expected lines.

use pubsub::testing::Database;
use std::path::Path;
use std::process::Command;

const EXAMPLES: [&str; 6] = ["hello", "transaction", "retry", "ordered", "worker", "shop_sqlx"];

/// Runs an example on the tests' server, and returns its output.
async fn run(example: &str) -> String {
    let database = Database::empty().await.unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "pubsub-examples", "--example", example]).current_dir(workspace);
    if example.ends_with("_sqlx") {
        command.args(["--features", "sqlx"]);
    }
    command.arg("--target-dir").arg(target).env("DATABASE_URL", database.url());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// Asserts that these lines are in the output, in this order.
fn assert_in_order(output: &str, lines: &[&str]) {
    let mut rest = output.lines();
    for line in lines {
        assert!(rest.any(|printed| printed == *line), "no `{line}`, or not in order:\n{output}");
    }
}

#[actix::test]
async fn hello_publishes_and_handles_an_event() {
    let output = run("hello").await;
    assert!(output.contains("Published event 1.\n"), "{output}");
    assert!(output.contains("Hello, Ada! This is event 1.\n"), "{output}");
}

#[actix::test]
async fn transaction_delivers_only_what_was_committed() {
    let output = run("transaction").await;
    assert_eq!(output, "Eve: rolled back\nGrace: committed\nWelcome, Grace!\n");
}

#[actix::test]
async fn shop_sqlx_sends_only_the_orders_that_were_taken() {
    let output = run("shop_sqlx").await;
    assert_in_order(&output, &["Ada: order 1", "Grace: order 3"]);
    assert!(output.contains("\nEve: error returned from database: "), "{output}");
    assert_in_order(&output, &["Sent order 1 to Ada.", "Sent order 3 to Grace."]);
    assert_eq!(output.matches("Sent").count(), 2, "{output}");
}

#[actix::test]
async fn retry_retries_rejects_and_redrives() {
    let output = run("retry").await;
    assert_in_order(&output, &["busy: attempt 1", "busy: attempt 2", "busy: attempt 3", "busy: sent"]);
    assert_in_order(
        &output,
        &[
            "nobody: attempt 1",
            "dead letter: rejected by its handler, no such mailbox",
            "redriven: 1",
            "nobody: attempt 1",
            "nobody: sent",
        ],
    );
}

#[actix::test]
async fn ordered_delays_only_the_key_that_is_retried() {
    let output = run("ordered").await;
    assert_in_order(&output, &["ada 1: not yet", "ada 1: done", "ada 2: done", "ada 3: done"]);
    assert_in_order(&output, &["grace 1: done", "grace 2: done", "grace 3: done", "ada 1: done"]);
}

#[actix::test]
async fn worker_restarts_its_actor_after_a_panic() {
    let output = run("worker").await;
    assert_in_order(&output, &["one.png: thumbnail 1 of this actor", "Done, after 1 restart."]);
    assert!(output.contains("broken.png: thumbnail "), "{output}");
    assert_eq!(output.matches("thumbnail 1 of").count(), 2, "a new actor counts anew:\n{output}");
}

#[test]
fn each_small_example_has_less_than_sixty_lines() {
    for example in EXAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{example}.rs"));
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 60, "{example}: {lines} lines");
    }
}
