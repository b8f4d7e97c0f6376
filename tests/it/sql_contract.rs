//! The signatures and columns in `docs/sql-contract.md` are those of the schema.
//!
//! A function is documented with its signature, as [`SIGNATURES`] writes it, and a view by a table row with its columns.

use pubsub_tests::TestDatabase;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../../docs/sql-contract.md");

/// The signature of every function, in the document's notation.
const SIGNATURES: &str = "
    with catalog as (
        select p.proname::text as name,
               pg_get_function_arguments(p.oid) as arguments,
               pg_get_function_result(p.oid) as result
          from pg_proc p
         where p.pronamespace = 'pubsub'::regnamespace
           and p.prokind = 'f'
    ),
    -- Results that are declared as arguments are written as a table.
    split as (
        select c.name,
               regexp_replace(c.arguments, '(, )?OUT [^,]+', '', 'g') as arguments,
               coalesce(
                   (select 'table (' || string_agg(m[1], ', ') || ')'
                      from regexp_matches(c.arguments, 'OUT ([^,]+)', 'g') m),
                   c.result
               ) as result
          from catalog c
    ),
    written as (
        select s.name, format('%s(%s) returns %s', s.name, s.arguments, s.result) as signature from split s
    ),
    without_casts as (
        select w.name, regexp_replace(w.signature, '::[a-z ]+(\\[\\])?', '', 'g') as signature from written w
    )
    select name,
           replace(replace(replace(replace(replace(signature,
               ' DEFAULT ', ' default '), 'NULL', 'null'), 'TABLE(', 'table ('), 'SETOF ', 'setof '),
               'timestamp with time zone', 'timestamptz')
      from without_casts";

const COLUMNS: &str = "
    select c.relname::text, string_agg(a.attname, ', ' order by a.attnum)
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
     where c.relnamespace = 'pubsub'::regnamespace and c.relkind = 'v'
       and exists (select from pubsub.audiences v where v.object = c.relname)
     group by c.oid";

async fn catalog(db: &TestDatabase, sql: &str) -> BTreeMap<String, String> {
    db.client.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The pieces of a text in backticks, each on one line.
fn code(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The signatures in the document: all code of headings, and any other code that says what it returns.
fn signatures() -> Vec<String> {
    let mut signatures = Vec::new();
    for (nth, text) in DOCUMENT.split("```").enumerate() {
        // Every second piece is a block of code.
        if nth % 2 == 1 {
            continue;
        }
        let headings = text.lines().filter(|line| line.starts_with("### ")).flat_map(code);
        signatures.extend(headings.filter(|code| code.contains('(') && !code.starts_with("insert into ")));
        signatures.extend(code(text).filter(|code| code.contains(") returns ")));
    }
    signatures
}

#[tokio::test]
async fn the_contract_has_the_signatures_of_the_schema() {
    let db = TestDatabase::new().await;
    let actual = catalog(&db, SIGNATURES).await;
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for signature in signatures() {
        let name = signature.split('(').next().unwrap_or_default().to_owned();
        match actual.get(&name) {
            Some(actual) if *actual == signature => {}
            Some(actual) => wrong.push(format!("`{signature}` must be `{actual}`")),
            None => wrong.push(format!("`{signature}` does not exist")),
        }
        names.insert(name);
    }
    assert!(wrong.is_empty(), "docs/sql-contract.md is wrong:\n{}", wrong.join("\n"));
    assert!(names.len() > 30, "only {} functions are documented", names.len());
}

#[tokio::test]
async fn the_contract_has_the_columns_of_the_views() {
    let db = TestDatabase::new().await;
    let columns = catalog(&db, COLUMNS).await;
    let mut documented = BTreeMap::new();
    for row in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        let mut code = code(row);
        if let (Some(view), Some(listed)) = (code.next(), code.next())
            && columns.contains_key(&view)
        {
            documented.insert(view, listed);
        }
    }
    assert_eq!(documented, columns);
}
