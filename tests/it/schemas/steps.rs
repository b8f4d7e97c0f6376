//! Checking a payload against a schema takes a bounded number of steps, whatever the schema.

use pubsub_tests::TestDatabase;

/// A schema of variants of variants, `levels` deep: checking one value takes twice the steps with each level.
fn exponential(levels: u32) -> String {
    let level = |n: u32| {
        format!(r##""n{n}": {{"anyOf": [{{"$ref": "#/$defs/n{0}"}}, {{"$ref": "#/$defs/n{0}"}}]}}"##, n + 1)
    };
    let defs: Vec<_> = (0..levels).map(level).collect();
    format!(
        r##"{{"$ref": "#/$defs/n0", "$defs": {{{}, "n{levels}": {{"type": "string"}}}}}}"##,
        defs.join(", ")
    )
}

#[actix::test]
async fn an_exponential_schema_is_refused_when_it_is_declared() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let declare = async |schema: &str| {
        let sql = "select pubsub.declare_schema('sms', 1, $1::text::jsonb, true)";
        client.execute(sql, &[&schema]).await.err().map(|error| error.code().unwrap().code().to_owned())
    };
    assert_eq!(declare(&exponential(25)).await.as_deref(), Some("PB008"));
    assert_eq!(declare(r#"{"minimum": "one"}"#).await.as_deref(), Some("22P02"));
    assert_eq!(declare(r#"{"enum": 7}"#).await.as_deref(), Some("22023"));
    let pattern = |pattern: &str| format!(r#"{{"items": {{"patternProperties": {{"{pattern}": true}}}}}}"#);
    assert_eq!(declare(&pattern(r"^(a+)\\1$")).await.as_deref(), Some("PB008"), "it refers back");
    assert_eq!(declare(&pattern("[")).await.as_deref(), Some("2201B"));
    assert_eq!(declare(&pattern("^x-")).await, None);
    client.batch_execute("select pubsub.publish('sms', '1')").await.unwrap();
    assert_eq!(declare(&exponential(4)).await, None);
    client.batch_execute(r#"select pubsub.publish('sms', '"text"')"#).await.unwrap();
}

#[actix::test]
async fn checking_a_payload_takes_a_bounded_number_of_steps() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    // Each level of the payload doubles the steps.
    let variant = r##"{"properties": {"x": {"$ref": "#/$defs/n"}}, "additionalProperties": false}"##;
    let schema =
        format!(r##"{{"$ref": "#/$defs/n", "$defs": {{"n": {{"anyOf": [{variant}, {variant}]}}}}}}"##);
    let declare = "select pubsub.declare_schema('sms', 1, $1::text::jsonb, true)";
    client.execute(declare, &[&schema]).await.unwrap();
    client.batch_execute(r#"select pubsub.publish('sms', '{"x": {"x": {}}}')"#).await.unwrap();
    let deep = format!(r#"{}{{"y": 1}}{}"#, r#"{"x": "#.repeat(30), "}".repeat(30));
    let publish = "select pubsub.publish('sms', $1::text::jsonb)";
    let refused = client.execute(publish, &[&deep]).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "PB008");
    // A long payload may take long.
    let flat = r#"{"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}"#;
    client.execute(declare, &[&flat]).await.unwrap();
    let long = "select pubsub.publish('sms', (select jsonb_agg(n) from generate_series(1, 30000) n))";
    client.batch_execute(long).await.unwrap();
}
