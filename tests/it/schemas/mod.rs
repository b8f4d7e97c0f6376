//! JSON Schema validation in the database.

mod shapes;
mod steps;
mod strict;

use pubsub_tests::TestDatabase;
use serde_json::{Value, json};

/// The first mismatch of a value: its path, the expected type, and the value found there. `None` if the value is valid.
async fn mismatch(db: &TestDatabase, value: &Value, schema: &Value) -> Option<[String; 3]> {
    let sql = "select pubsub.mismatch($1, $2, $2)";
    let row = db.client.query_one(sql, &[value, schema]).await.unwrap_or_else(|e| panic!("{value}: {e:?}"));
    row.get::<_, Option<Vec<String>>>(0).map(|found| found.try_into().expect("three texts"))
}

async fn assert_accepts(db: &TestDatabase, schema: &Value, values: &[Value]) {
    for value in values {
        assert_eq!(mismatch(db, value, schema).await, None, "{value} against {schema}");
    }
}

async fn assert_refuses(db: &TestDatabase, schema: &Value, cases: &[(Value, [&str; 3])]) {
    for (value, expected) in cases {
        let found = mismatch(db, value, schema).await;
        assert_eq!(found, Some(expected.map(str::to_owned)), "{value} against {schema}");
    }
}

#[actix::test]
async fn types_and_constants_are_checked() {
    let db = TestDatabase::new().await;
    for (schema, good, bad) in [
        (json!({"type": "string"}), json!(["", "a", "ü"]), json!([1, null, true, [], {}])),
        (json!({"type": "integer"}), json!([0, -7, 12345678901234567890_u64]), json!([1.5, 1.0, "1", null])),
        (json!({"type": "number"}), json!([0, 1.5, -1e300]), json!(["1", null])),
        (json!({"type": "boolean"}), json!([true, false]), json!([0, "true"])),
        (json!({"type": "null"}), json!([null]), json!([0, "", false])),
        (json!({"type": ["string", "null"]}), json!(["a", null]), json!([1, {}])),
        (json!({"const": "a"}), json!(["a"]), json!(["b", 1])),
        (json!({"const": {"a": [1]}}), json!([{"a": [1]}]), json!([{"a": [1, 1]}, {}])),
        (json!({"enum": ["a", 2, null]}), json!(["a", 2, null]), json!(["b", 1, false])),
        (json!({"type": "string", "enum": ["a"]}), json!(["a"]), json!(["b", 1])),
        (json!(true), json!([1, null, {"a": 1}]), json!([])),
        (json!({}), json!([1, null, {"a": 1}]), json!([])),
        (json!(false), json!([]), json!([1, null])),
        (json!({"type": "integer", "format": "uint8"}), json!([0, 255]), json!([-1, 256])),
        (json!({"type": "integer", "format": "int32"}), json!([-2147483648_i64]), json!([2147483648_i64])),
        (json!({"type": "integer", "format": "uint64"}), json!([u64::MAX]), json!([-1])),
        (json!({"type": "integer", "minimum": 3, "maximum": 4}), json!([3, 4]), json!([2, 5])),
        (json!({"type": "string", "minLength": 1, "maxLength": 1}), json!(["ü"]), json!(["", "ab"])),
    ] {
        assert_accepts(&db, &schema, good.as_array().unwrap()).await;
        for value in bad.as_array().unwrap() {
            assert_ne!(mismatch(&db, value, &schema).await, None, "{value} against {schema}");
        }
    }
}

#[actix::test]
async fn an_error_in_an_object_or_array_has_the_path_to_the_field() {
    let db = TestDatabase::new().await;
    let order = json!({
        "type": "object",
        "properties": {
            "id": {"type": "integer", "format": "int64"},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 2, "maxItems": 2},
            "totals": {"type": "object", "additionalProperties": {"type": "number"}},
            "by_number": {
                "type": "object", "patternProperties": {"^\\d+$": {"type": "string"}}, "additionalProperties": false
            },
        },
        "required": ["id", "items"],
        "$defs": {
            "Item": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/Item"}}},
                "required": ["name"],
                "additionalProperties": false,
            }
        }
    });
    let good = json!({"id": 1, "items": [{"name": "a", "parts": [{"name": "b"}]}], "pair": ["a", true],
                      "totals": {"x": 1.5}, "by_number": {"17": "a"}, "more": 1});
    assert_accepts(&db, &order, &[good, json!({"id": 1, "items": []})]).await;
    assert_refuses(
        &db,
        &order,
        &[
            (json!([]), ["", "an object", "array"]),
            (json!({"id": 1}), [".items", "an array", "nothing"]),
            (json!({"id": "1", "items": []}), [".id", "an integer", "string"]),
            (json!({"id": 1, "items": [{"name": "a"}, 7]}), [".items[1]", "an object", "integer"]),
            (
                json!({"id": 1, "items": [{"name": "a", "parts": [{"nam": "b"}]}]}),
                [".items[0].parts[0].name", "a string", "nothing"],
            ),
            (json!({"id": 1, "items": [{"name": "a", "x": 1}]}), [".items[0].x", "no such field", "one"]),
            (json!({"id": 1, "items": [], "pair": ["a"]}), [".pair", "at least 2 items", "1"]),
            (json!({"id": 1, "items": [], "pair": ["a", "b"]}), [".pair[1]", "a boolean", "string"]),
            (json!({"id": 1, "items": [], "totals": {"x": "1"}}), [".totals.x", "a number", "string"]),
            (
                json!({"id": 1, "items": [], "by_number": {"x": "1"}}),
                [".by_number.x", "no such field", "one"],
            ),
            (json!({"id": 1, "items": [], "by_number": {"1": 1}}), [".by_number.1", "a string", "integer"]),
        ],
    )
    .await;
}

#[actix::test]
async fn the_error_is_about_the_nearest_of_several_shapes() {
    let db = TestDatabase::new().await;
    let payment = json!({"oneOf": [
        {"type": "object", "properties": {"kind": {"type": "string", "const": "card"}, "number": {"type": "string"}},
         "required": ["kind", "number"]},
        {"type": "object", "properties": {"kind": {"type": "string", "const": "cash"}}, "required": ["kind"]},
    ]});
    assert_accepts(&db, &payment, &[json!({"kind": "cash"}), json!({"kind": "card", "number": "1"})]).await;
    assert_refuses(
        &db,
        &payment,
        &[
            (json!({"kind": "card", "number": 1}), [".number", "a string", "integer"]),
            (json!({"kind": "card"}), [".number", "a string", "nothing"]),
            (json!({"kind": "coin"}), [".kind", "\"card\" or \"cash\"", "string"]),
            (json!(7), ["", "an object", "integer"]),
        ],
    )
    .await;
    let optional = json!({
        "anyOf": [{"$ref": "#/$defs/Item"}, {"type": "null"}],
        "$defs": {"Item": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
    });
    assert_accepts(&db, &optional, &[json!(null), json!({"name": "a"})]).await;
    assert_refuses(
        &db,
        &optional,
        &[
            (json!({"name": 1}), [".name", "a string", "integer"]),
            (json!(1), ["", "an object or null", "integer"]),
        ],
    )
    .await;
    let both =
        json!({"allOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]});
    assert_accepts(&db, &both, &[json!({"a": 1, "b": 1})]).await;
    assert_refuses(&db, &both, &[(json!({"a": 1}), [".b", "a value", "nothing"])]).await;
}

#[actix::test]
async fn recursive_schemas_and_deep_payloads_do_not_crash_the_check() {
    let db = TestDatabase::new().await;
    let endless = json!({"$ref": "#"});
    assert_refuses(&db, &endless, &[(json!(1), ["", "at most 64 levels", "more"])]).await;
    let tree = json!({
        "$ref": "#/$defs/Tree",
        "$defs": {"Tree": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Tree"}}, {"type": "null"}]}}
    });
    let deep = |levels: usize| (0..levels).fold(json!(null), |inner, _| json!([inner]));
    assert_accepts(&db, &tree, &[deep(20)]).await;
    let found = mismatch(&db, &deep(1000), &tree).await.unwrap();
    assert_eq!(found[1], "at most 64 levels");
    let elsewhere = json!({"$ref": "https://example.org/x.json"});
    assert_accepts(&db, &elsewhere, &[json!(1)]).await;
}
