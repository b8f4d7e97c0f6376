//! The program `pubsub` on its command line.

use pubsub::testing::Database;
use std::process::{Command, Output};

fn run(arguments: &[&str], database_url: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pubsub"));
    command.args(arguments).env_remove("DATABASE_URL");
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    command.output().expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn schema_export_writes_the_declared_schemas() {
    let database = Database::create().await.expect("a database for the test");
    let (client, connection) =
        tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
        .batch_execute(
            r#"select pubsub.declare_channel('sms', 1, 'A text message.');
               select pubsub.declare_schema('sms', 1, '{"type": "object", "properties": {"msg": {"type": "string"}}}')"#,
        )
        .await
        .expect("a declaration");
    let typescript = run(&["schema", "export", "--format", "typescript"], Some(database.url()));
    assert!(typescript.status.success(), "{typescript:?}");
    let written = text(&typescript.stdout);
    assert!(written.contains("/** A text message. */\nexport namespace Sms {"), "{written}");
    assert!(written.contains("    msg?: string;\n"), "{written}");

    let url = ["--database-url", database.url()];
    let arguments = [&["schema", "export", "--format", "json-schema"][..], &url].concat();
    let schema = run(&arguments, None);
    let document: serde_json::Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert_eq!(document["$defs"]["sms.v1.payload"]["properties"]["msg"]["type"], "string");
}

#[test]
fn schema_export_reports_missing_arguments() {
    let nowhere = run(&["schema", "export", "--format", "typescript"], None);
    assert!(!nowhere.status.success());
    assert_eq!(
        text(&nowhere.stderr),
        "error: which database? Say --database-url postgres://.., or set DATABASE_URL\n"
    );
    let refused =
        run(&["schema", "export", "--format", "typescript"], Some("postgres://nobody@127.0.0.1:1/none"));
    assert!(text(&refused.stderr).starts_with("error: cannot connect to `127.0.0.1:1`: "), "{refused:?}");
}
