//! Made-up files that break each rule, and some that look as if they did.

use crate::rules::{FileRule, ProjectRule};
use crate::source::File;
use crate::{comments, functions, graph, layers, rules, totals};

/// The lines of the findings in a made-up file.
fn lines(rule: FileRule, path: &str, text: &str) -> Vec<usize> {
    rule(&File::new(path, text)).into_iter().map(|(line, _)| line).collect()
}

/// The findings in made-up files: each with its path and line.
fn places(rule: ProjectRule, files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
    rule(&files).into_iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
}

const NOTHING: [usize; 0] = [];
const NOWHERE: [&str; 0] = [];
const LIBRARY: &str = "pubsub/src/model/event.rs";
const MIGRATION: &str = "migrations/V9__more.sql";

#[test]
fn length_rules_can_fail() {
    assert_eq!(lines(rules::length, LIBRARY, &"\n".repeat(401)), [401]);
    assert_eq!(lines(rules::length, LIBRARY, &"\n".repeat(400)), NOTHING);

    let function = |lines: usize| format!("\nfn f() {{\n{}}}", "\n".repeat(lines - 2));
    assert_eq!(lines(functions::length, LIBRARY, &function(71)), [2]);
    assert_eq!(lines(functions::length, LIBRARY, &function(70)), NOTHING);
    let function =
        |lines: usize| format!("create function f()\nas $$\n{}$$;\n", "select 1;\n".repeat(lines - 3));
    assert_eq!(lines(functions::length, MIGRATION, &function(81)), [1]);
    assert_eq!(lines(functions::length, MIGRATION, &function(80)), NOTHING);
}

#[test]
fn rules_of_text_can_fail() {
    assert_eq!(
        lines(comments::beginnings, LIBRARY, "/// What it is.\nstruct A;\n// Of A\n// and B.\n"),
        [1, 3]
    );
    assert_eq!(lines(comments::beginnings, MIGRATION, "select 1; -- Who knows.\n"), [1]);
    assert_eq!(
        lines(comments::beginnings, LIBRARY, "/// A list\n/// Of things.\n///\n/// Whether.\n"),
        NOTHING
    );

    assert_eq!(lines(rules::places, LIBRARY, "tokio_postgres::Row"), [1]);
    assert_eq!(lines(rules::places, "pubsub/src/store/claim.rs", "tokio_postgres::Row"), NOTHING);
    let delivery = "use actix::Message;\nuse actix::Actor;";
    assert_eq!(lines(rules::places, "pubsub/src/model/delivery.rs", delivery), [2]);

    let policy = "pubsub/src/policy/prefetch.rs";
    assert_eq!(lines(rules::purity, policy, "let now = Instant::now();\nasync fn f() {}"), [1, 2]);
    assert_eq!(lines(rules::purity, policy, "#[cfg(test)]\nlet now = Instant::now();"), NOTHING);

    assert_eq!(lines(rules::module_docs, LIBRARY, "use std::fmt;"), [1]);
    assert_eq!(lines(rules::notes, "README.md", concat!("a\n", "TO", "DO: b")), [2]);
    let promise = concat!("Delivers exactly", "-once.\nNever exactly", " once.");
    assert_eq!(lines(rules::promise, "README.md", promise), [1]);
    let unwraps = "/// x.unwrap()\nx.unwrap();\nlet text = \".unwrap()\";";
    assert_eq!(lines(rules::unwraps, LIBRARY, unwraps), [2]);
}

#[test]
fn rules_of_sql_can_fail() {
    assert_eq!(lines(rules::migration_header, MIGRATION, "create table t ();"), [1, 1]);
    let header = "-- More.\n--\n-- Locks: none.\ncreate table t ();";
    assert_eq!(lines(rules::migration_header, MIGRATION, header), NOTHING);
    assert_eq!(lines(rules::lower_case, MIGRATION, "-- Yes\nselect 'Yes';\nSELECT 1;"), [3]);
    let unsafe_path = "create function f() returns void\nas $$ $$;\ncreate table t ();";
    assert_eq!(lines(rules::search_path, MIGRATION, unsafe_path), [1]);
    let inlined = "create function f() returns integer\nlanguage sql\nreturn 1;";
    assert_eq!(lines(rules::search_path, MIGRATION, inlined), NOTHING);
}

#[test]
fn circles_can_be_found() {
    let root = ("x/src/lib.rs", "mod a;\nmod b;\nmod c;\npub use b::B;");
    // Through a re-export at the root, with nested braces, `super` and a path in the code.
    let a = ("x/src/a.rs", "use crate::{c::C, B};\npub struct A;");
    let b = ("x/src/b.rs", "pub struct B;\nfn f() { super::c::g() }");
    let c = ("x/src/c.rs", "use super::a::{self, A};\npub fn g() {}\npub struct C;");
    assert_eq!(places(graph::circles, &[root, a, b, c]), ["x/src/a.rs:1"]);
    let c = ("x/src/c.rs", "pub fn g() {}\npub struct C;\n#[cfg(test)]\nuse super::a::A;");
    assert_eq!(places(graph::circles, &[root, a, b, c]), NOWHERE);
    // A module and its child.
    let a = ("x/src/a.rs", "mod d;\npub struct A(d::D);\nuse crate::c::C;");
    let d = ("x/src/a/d.rs", "use super::A;\npub struct D;");
    assert_eq!(places(graph::circles, &[root, a, b, c, d]), ["x/src/a.rs:2"]);
    // Two circles.
    let b = ("x/src/b.rs", "use crate::c::C;\npub struct B;");
    let c = ("x/src/c.rs", "use crate::b::B;\npub struct C;");
    assert_eq!(places(graph::circles, &[root, a, b, c, d]), ["x/src/a.rs:2", "x/src/b.rs:1"]);
}

#[test]
fn layers_can_be_broken() {
    let root =
        ("pubsub/src/lib.rs", "mod model;\nmod store;\nmod policy;\nmod queue;\npub use store::Store;");
    let store = ("pubsub/src/store/mod.rs", "pub struct Store;\nuse crate::model::Event;");
    let policy = ("pubsub/src/policy/mod.rs", "pub fn f() {}");
    let model = ("pubsub/src/model/mod.rs", "pub struct Event;");
    assert_eq!(places(layers::layers, &[root, store, policy, model]), NOWHERE);
    for back in [
        "crate::store::Store",
        "super::store::Store",
        "crate::{policy, store::{self, Store}}",
        "crate::Store",
    ] {
        let model = format!("pub struct Event;\nuse {back};");
        let model = ("pubsub/src/model/mod.rs", model.as_str());
        assert_eq!(
            places(layers::layers, &[root, store, policy, model]),
            ["pubsub/src/model/mod.rs:2"],
            "{back}"
        );
    }
    let queue = ("pubsub/src/queue/mod.rs", "use crate::model::Event;");
    assert_eq!(places(layers::layers, &[root, store, policy, model, queue]), ["pubsub/src/queue/mod.rs:1"]);

    let root = ("pubsub-derive/src/lib.rs", "mod read;\nmod check;\nmod write;");
    let read = ("pubsub-derive/src/read/mod.rs", "pub struct Read;");
    let check = ("pubsub-derive/src/check/mod.rs", "pub struct Check;\nfn f() { crate::write::f() }");
    let write = ("pubsub-derive/src/write/mod.rs", "use crate::{read::Read, check::Check};\npub fn f() {}");
    assert_eq!(places(layers::layers, &[root, read, check, write]), ["pubsub-derive/src/check/mod.rs:2"]);
}

#[test]
fn actors_can_be_found_to_use_each_other() {
    let root = ("pubsub/src/lib.rs", "mod actors;");
    let actors = ("pubsub/src/actors/mod.rs", "mod scheduler;\nmod dispatcher;\nmod message;");
    let message = ("pubsub/src/actors/message.rs", "pub struct Stop;");
    let dispatcher = ("pubsub/src/actors/dispatcher.rs", "use super::message::Stop;\npub struct Dispatcher;");
    for using in
        ["use crate::actors::{message::Stop, dispatcher::Dispatcher};", "fn f() { super::dispatcher::g() }"]
    {
        let files = [root, actors, message, dispatcher, ("pubsub/src/actors/scheduler.rs", using)];
        assert_eq!(places(layers::actors, &files), ["pubsub/src/actors/scheduler.rs:1"], "{using}");
    }
    let scheduler = ("pubsub/src/actors/scheduler.rs", "use crate::actors::message::Stop;");
    assert_eq!(places(layers::actors, &[root, actors, message, dispatcher, scheduler]), NOWHERE);
}

#[test]
fn totals_can_be_exceeded() {
    let functions = "create function f()\nreturn 1;\n".repeat(122);
    assert_eq!(places(totals::sql_size, &[("migrations/functions/a.sql", &functions)]), ["migrations:1"]);
    assert_eq!(places(totals::sql_size, &[(MIGRATION, &"\n".repeat(4_501))]), ["migrations:1"]);
    assert_eq!(places(totals::sql_size, &[(MIGRATION, &"\n".repeat(4_500))]), NOWHERE);

    let glossary = |rows: usize| format!("| term | meaning |\n|---|---|\n{}", "| a | b |\n".repeat(rows));
    assert_eq!(places(totals::glossary, &[("docs/glossary.md", &glossary(46))]), ["docs/glossary.md:1"]);
    assert_eq!(places(totals::glossary, &[("docs/glossary.md", &glossary(45))]), NOWHERE);

    let test = |length: usize| format!("#[actix::test]\n#[ignore]\nasync fn {}() {{}}\n", "a".repeat(length));
    assert_eq!(places(totals::test_names, &[("tests/it/a.rs", &test(61))]), ["tests/it/a.rs:3"]);
    assert_eq!(places(totals::test_names, &[("tests/it/a.rs", &test(60))]), NOWHERE);
}

#[test]
fn promises_can_name_tests_that_do_not_exist() {
    let tests = [
        ("tests/it/a/mod.rs", "#[test]\nfn b() {}"),
        ("tests/it/a/c.rs", "#[tokio::test]\nasync fn d() {}\nfn helper() {}"),
        ("tests/e.rs", "#[test]\nfn f_g() {}"),
    ];
    let found = |text| places(totals::promises, &[&[("docs/promises.md", text)], &tests[..]].concat());
    assert_eq!(found("`a::b`, `a::c::d` and `f_g` in `tests/e.rs`"), NOWHERE);
    assert_eq!(
        found("`a::b`\n`a::d`,\n`b_c` in\n`tests/e.rs`"),
        ["docs/promises.md:2", "docs/promises.md:3"]
    );
    assert_eq!(found("`a::c::helper`"), ["docs/promises.md:1"]);
    assert_eq!(found("nothing"), ["docs/promises.md:1"]);
    assert_eq!(places(totals::promises, &tests), ["docs/promises.md:1"]);
}
