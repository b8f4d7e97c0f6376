//! A strict channel accepts only payloads that match the declared schema, from any publisher, and exports the schema.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use pubsub::schema::{SchemaFormat, export};
use pubsub::{Channel, Error, PubSub, publish};
use pubsub_tests::{Sms, TestDatabase};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Sent when an order
/// is paid.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Channel)]
#[channel("order.paid", version = 2, upcast_from = none, strict)]
struct OrderPaid {
    /// Its number.
    id: i64,
    lines: Vec<Line>,
    #[serde(default)]
    coupon: Option<String>,
    payment: Payment,
    #[serde(rename = "ship-to")]
    ship_to: Option<Address>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Line {
    article: String,
    pieces: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Payment {
    Card { number: String },
    Transfer(Transfer),
    Cash,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Transfer {
    iban: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    city: String,
    zip: (u8, char),
}

/// Uses every type and attribute of serde and schemars.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Channel)]
#[channel("everything", strict)]
struct Everything {
    small: (i8, u8, i16, u16),
    large: (i32, u32, i64, u64),
    real: (f32, f64),
    flag: bool,
    letter: char,
    text: Box<str>,
    nothing: (),
    list: Vec<Option<u8>>,
    array: [i32; 3],
    set: BTreeSet<String>,
    by_name: BTreeMap<String, Vec<bool>>,
    by_number: BTreeMap<u32, Option<String>>,
    any: serde_json::Value,
    external: Vec<External>,
    adjacent: Option<Adjacent>,
    untagged: Vec<Untagged>,
    payment: Option<Payment>,
    tree: Tree,
    newtype: Meters,
    #[serde(flatten)]
    flat: Flat,
    #[serde(skip_serializing_if = "Option::is_none")]
    rare: Option<u8>,
    #[serde(skip)]
    #[expect(dead_code, reason = "no schema has this key")]
    skipped: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum External {
    Unit,
    /// With a comment, which makes it a case of its own.
    Commented,
    Newtype(u8),
    Tuple(u8, String),
    Struct {
        a: u8,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(i16),
    Struct { a: Option<u8> },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Number(i32),
    Text(String),
    Struct { a: Vec<u8> },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Tree {
    value: i32,
    children: Vec<Tree>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Meters(f64);

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Flat {
    x: i32,
    y: Option<i32>,
}

fn order() -> OrderPaid {
    OrderPaid {
        id: 17,
        lines: vec![Line { article: "lamp".into(), pieces: 2 }],
        coupon: None,
        payment: Payment::Card { number: "4711".into() },
        ship_to: Some(Address { city: "Ghent".into(), zip: (90, 'x') }),
    }
}

/// The SQLSTATE and the message of an error.
async fn refusal(db: &TestDatabase, sql: &str) -> (String, String) {
    let refused = db.client.batch_execute(sql).await.expect_err("a refusal");
    let refused = refused.as_db_error().expect("from the database");
    (refused.code().code().to_owned(), refused.message().to_owned())
}

#[actix::test]
async fn publishing_a_wrong_shape_by_sql_is_a_clear_error() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<OrderPaid>().declare::<Sms>().start().await.unwrap();
    let good = r#"{"id": 1, "lines": [], "payment": {"kind": "cash"}}"#;
    let insert = |payload: &str| {
        format!(
            "insert into pubsub.db_events (channel, version, payload) values ('order.paid', 2, '{payload}')"
        )
    };
    db.client.batch_execute(&insert(good)).await.unwrap();
    let call = format!("select pubsub.publish('order.paid', '{good}', version => 2)");
    db.client.batch_execute(&call).await.unwrap();

    let about = "a payload of channel \"order.paid\", version 2, does not have its declared shape: ";
    for (payload, what) in [
        ("[]", "an object is expected, and there is an array"),
        (
            r#"{"lines": [], "payment": {"kind": "cash"}}"#,
            "an integer is expected at \"id\", and there is nothing",
        ),
        (
            r#"{"id": 1, "lines": [{"article": "a", "pieces": 1}, {"article": "b", "pieces": "2"}], "payment": {"kind": "cash"}}"#,
            "an integer is expected at \"lines[1].pieces\", and there is a string",
        ),
        (
            r#"{"id": 1, "lines": [{"article": "a", "pieces": 65536}], "payment": {"kind": "cash"}}"#,
            "a number from 0 to 65535 is expected at \"lines[0].pieces\", and there is one beyond",
        ),
        (
            r#"{"id": 1, "lines": [], "payment": {"kind": "card"}}"#,
            "a string is expected at \"payment.number\", and there is nothing",
        ),
        (
            r#"{"id": 1, "lines": [], "payment": {"kind": "coin"}}"#,
            "\"card\" or \"transfer\" or \"cash\" is expected at \"payment.kind\", and there is a string",
        ),
        (
            r#"{"id": 1, "lines": [], "payment": {"kind": "cash"}, "ship-to": {"city": "a", "zip": [1, "b"], "x": 1}}"#,
            "no such field is expected at \"ship-to.x\", and there is one",
        ),
    ] {
        let (code, message) = refusal(&db, &insert(payload)).await;
        assert_eq!((code.as_str(), message), ("PB008", format!("{about}{what}")), "{payload}");
    }

    let (code, _) = refusal(
        &db,
        &format!("insert into pubsub.db_events (channel, version, payload) values ('order.paid', 2, '{good}'), ('order.paid', 2, '1')"),
    )
    .await;
    assert_eq!(code, "PB008", "one of many");
    db.client
        .batch_execute("insert into pubsub.db_events (channel, payload) values ('sms', '1')")
        .await
        .unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 3);
}

#[actix::test]
async fn a_strict_channel_accepts_rust_and_explains_its_refusals() {
    /// The payload of a binary whose type was changed without a new version.
    #[derive(Serialize, Deserialize)]
    struct Changed {
        id: String,
    }

    impl Channel for Changed {
        const NAME: &'static str = "order.paid";
        const VERSION: u32 = 2;
    }

    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<OrderPaid>().start().await.unwrap();
    pubsub::publish(&pubsub, &order()).await.unwrap();
    let refused = publish(&db.client, &Changed { id: "17".into() }).await.unwrap_err();
    assert!(matches!(refused, Error::PayloadMismatch { .. }), "{refused:?}");
    assert!(refused.to_string().contains("does not have its declared shape"), "{refused}");
}

#[actix::test]
async fn a_version_without_a_declared_schema_is_not_checked() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<OrderPaid>().start().await.unwrap();
    for version in [1, 3] {
        let sql = "insert into pubsub.db_events (channel, version, payload) values ('order.paid', $1, '1')";
        db.client.execute(sql, &[&version]).await.unwrap();
    }
}

#[actix::test]
async fn the_newest_version_decides_whether_a_channel_is_strict() {
    let db = TestDatabase::new().await;
    let strict = || db.count("select count(*) from pubsub.channels where strict and plain_bytes = -1");
    db.client
        .batch_execute(
            "select pubsub.declare_channel('sms', 2);
             select pubsub.declare_schema('sms', 2, '{\"type\": \"object\"}', true)",
        )
        .await
        .unwrap();
    assert_eq!(strict().await, 1);
    db.client.batch_execute("select pubsub.declare_schema('sms', 1, 'true', false)").await.unwrap();
    assert_eq!(strict().await, 1, "an older version decides nothing");
    db.client.batch_execute("select pubsub.declare_schema('sms', 2, null, false)").await.unwrap();
    assert_eq!(strict().await, 0);
    assert_eq!(db.count("select count(*) from pubsub.list_schemas()").await, 2, "the schemas stay");
    let (code, _) = refusal(&db, "select pubsub.declare_schema('smss', 1, 'true')").await;
    assert_eq!(code, "PB001");
}

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,6}"
}

fn payment() -> impl Strategy<Value = Payment> {
    prop_oneof![
        text().prop_map(|number| Payment::Card { number }),
        text().prop_map(|iban| Payment::Transfer(Transfer { iban })),
        Just(Payment::Cash),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = any::<i32>().prop_map(|value| Tree { value, children: Vec::new() });
    leaf.prop_recursive(4, 16, 3, |inner| {
        (any::<i32>(), prop::collection::vec(inner, 0..3))
            .prop_map(|(value, children)| Tree { value, children })
    })
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![
        Just(External::Unit),
        Just(External::Commented),
        any::<u8>().prop_map(External::Newtype),
        (any::<u8>(), text()).prop_map(|(n, t)| External::Tuple(n, t)),
        any::<u8>().prop_map(|a| External::Struct { a }),
    ]
}

fn adjacent() -> impl Strategy<Value = Adjacent> {
    prop_oneof![
        Just(Adjacent::Unit),
        any::<i16>().prop_map(Adjacent::Newtype),
        any::<Option<u8>>().prop_map(|a| Adjacent::Struct { a }),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    prop_oneof![
        any::<i32>().prop_map(Untagged::Number),
        text().prop_map(Untagged::Text),
        any::<Vec<u8>>().prop_map(|a| Untagged::Struct { a }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    // JSON has no NaN and no infinity: serde writes null for them and cannot read it back.
    let real = (prop::num::f32::NORMAL | prop::num::f32::ZERO, prop::num::f64::NORMAL | prop::num::f64::ZERO);
    let letter = any::<char>().prop_filter("jsonb has no NUL", |letter| *letter != '\0');
    let scalars =
        (any::<(i8, u8, i16, u16)>(), any::<(i32, u32, i64, u64)>(), real, any::<bool>(), letter, text());
    let many = (
        prop::collection::vec(any::<Option<u8>>(), 0..4),
        any::<[i32; 3]>(),
        prop::collection::btree_set(text(), 0..3),
        prop::collection::btree_map(text(), any::<Vec<bool>>(), 0..3),
        prop::collection::btree_map(any::<u32>(), prop::option::of(text()), 0..3),
    );
    let enums = (
        prop::collection::vec(external(), 0..4),
        prop::option::of(adjacent()),
        prop::collection::vec(untagged(), 0..4),
        prop::option::of(payment()),
        tree(),
    );
    let rest = (any::<i32>(), any::<Option<i32>>(), any::<Option<u8>>());
    (scalars, many, enums, rest).prop_map(|(scalars, many, enums, (x, y, rare))| {
        let (small, large, real, flag, letter, text) = scalars;
        let (list, array, set, by_name, by_number) = many;
        let (external, adjacent, untagged, payment, tree) = enums;
        Everything {
            any: serde_json::json!({ "x": x, "y": [y] }),
            newtype: Meters(real.1),
            text: text.into(),
            flat: Flat { x, y },
            nothing: (),
            skipped: 0,
            small,
            large,
            real,
            flag,
            letter,
            list,
            array,
            set,
            by_name,
            by_number,
            external,
            adjacent,
            untagged,
            payment,
            tree,
            rare,
        }
    })
}

#[actix::test]
async fn payloads_written_by_rust_match_the_declared_schema() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Everything>().start().await.unwrap();
    let mut runner = TestRunner::default();
    let strategy = everything();
    let events: Vec<Everything> =
        (0..300).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect();
    for event in &events {
        if let Err(error) = pubsub::publish(&pubsub, event).await {
            panic!("{error}\n{}", serde_json::to_string(event).unwrap());
        }
    }
    // The check does happen: each payload without one of its fields is refused.
    let refused = "select count(*) from pubsub.db_events e cross join pubsub.channel_versions v
                    where pubsub.mismatch(e.payload - 'tree', v.schema, v.schema) is not null";
    assert_eq!(db.count(refused).await, 300);
}

#[actix::test]
async fn exports_from_the_database_and_the_binary_are_equal() {
    let db = TestDatabase::new().await;
    let declared =
        |builder: pubsub::Builder| builder.declare::<Everything>().declare::<OrderPaid>().declare::<Sms>();
    let _pubsub = declared(db.pubsub()).start().await.unwrap();
    for format in [SchemaFormat::JsonSchema, SchemaFormat::TypeScript] {
        let of_database = export(db.url(), format).await.unwrap();
        assert_eq!(of_database, declared(PubSub::builder("")).export(format));
    }
}

#[test]
fn typescript_types_equal_the_golden_file() {
    let written =
        PubSub::builder("").declare::<Everything>().declare::<OrderPaid>().export(SchemaFormat::TypeScript);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/it/golden/events.ts");
    if std::env::var("PUBSUB_GOLDEN").is_ok_and(|what| what == "overwrite") {
        std::fs::write(golden, &written).expect("a writable golden file");
    }
    let expected = std::fs::read_to_string(golden).expect("a golden file");
    assert!(
        written == expected,
        "not as in {golden}; with PUBSUB_GOLDEN=overwrite it is rewritten:\n{written}"
    );
}
