//! The house rules that a machine can check. A violation is named with file and line.
//!
//! Reads text and parses nothing: comments and literals are blanked, and the rest is searched for words. Every rule is also
//! tried on made-up files that break it, so that a rule which can no longer fail is noticed.

mod rules;
mod source;

use rules::*;
use source::{File, collect};
use std::path::Path;

/// Every rule: its name, and what it finds in a file.
const RULES: &[(&str, Rule)] = &[
    ("files are at most 400 lines long", length),
    ("layers import downwards only", layers),
    ("each foreign crate has its place", places),
    ("actors do not import each other", actors),
    ("the policy is pure", purity),
    ("a module says first what it is for", module_docs),
    ("no notes to self", notes),
    ("at least once, and nowhere more than that", promise),
    ("no unwrap outside of tests", unwraps),
    ("a migration has its header", migration_header),
    ("SQL is lower case", lower_case),
    ("a function of SQL sets its search_path", search_path),
];

/// The project, and its files.
fn project() -> (&'static Path, Vec<File>) {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a directory of the workspace");
    let mut files = Vec::new();
    collect(root, root, &mut files);
    assert!(files.len() > 100, "only {} files under {}", files.len(), root.display());
    (root, files)
}

#[test]
fn the_house_rules_hold() {
    let (_, files) = project();
    let broken: Vec<String> = files.iter().flat_map(broken_rules).collect();
    assert!(broken.is_empty(), "{} violations of the house rules:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn links_between_documents_are_alive() {
    let (root, files) = project();
    let mut dead = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let directory = root.join(&file.path);
        let directory = directory.parent().expect("a file is in a directory");
        let leads_nowhere = |(_, target): &(usize, &str)| !directory.join(target).exists();
        let describe = |(line, target)| format!("{}:{line}: {target}", file.path);
        dead.extend(links(&file.text).filter(leads_nowhere).map(describe));
    }
    assert!(dead.is_empty(), "{} dead links:\n{}", dead.len(), dead.join("\n"));
}

/// The links of a document to files of the project, with their lines.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(line, text)| {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let to_files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        to_files.map(move |target| (line, target))
    })
}

fn broken_rules(file: &File) -> Vec<String> {
    let of = |(name, rule): &(&str, Rule)| {
        let broken = |(line, what)| format!("{}:{line}: {what} ({name})", file.path);
        rule(file).into_iter().map(broken).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(of).collect()
}

#[test]
fn links_are_found() {
    let text = "[a](b.md) and [c](d/e.md#f)\n[g](#h) [i](https://j) `k[l](m)`";
    assert_eq!(links(text).collect::<Vec<_>>(), [(1, "b.md"), (1, "d/e.md"), (2, "m")]);
}

/// What is found in a made-up file, as lines.
fn found(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    rule(&File::new(path, text)).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn every_rule_can_fail() {
    let nothing = Vec::<usize>::new();
    let library = "pubsub/src/model/event.rs";
    assert_eq!(found(length, library, &"\n".repeat(401)), [401]);
    assert_eq!(found(length, library, &"\n".repeat(400)), nothing);

    assert_eq!(found(layers, library, "\nuse crate::store::Store;"), [2]);
    assert_eq!(found(layers, library, "use crate::model::backoff::Backoff; // crate::store"), nothing);
    assert_eq!(found(layers, "pubsub/src/queue/mod.rs", ""), [1]);

    assert_eq!(found(places, library, "tokio_postgres::Row"), [1]);
    assert_eq!(found(places, "pubsub/src/store/claim.rs", "tokio_postgres::Row"), nothing);
    assert_eq!(found(places, "pubsub/src/model/delivery.rs", "use actix::Message;\nuse actix::Actor;"), [2]);

    assert_eq!(
        found(actors, "pubsub/src/actors/scheduler.rs", "use crate::actors::dispatcher::Dispatcher;"),
        [1]
    );
    assert_eq!(found(actors, "pubsub/src/actors/scheduler.rs", "use super::janitor;"), [1]);
    assert_eq!(
        found(actors, "pubsub/src/actors/dispatcher.rs", "use crate::actors::heartbeat::Heartbeat;"),
        [1]
    );
    assert_eq!(
        found(actors, "pubsub/src/actors/handler_host.rs", "use crate::actors::handler_link::HandlerLink;"),
        nothing
    );

    assert_eq!(
        found(purity, "pubsub/src/policy/demand.rs", "let now = Instant::now();\nasync fn f() {}"),
        [1, 2]
    );
    assert_eq!(
        found(purity, "pubsub/src/policy/demand.rs", "#[cfg(test)]\nlet now = Instant::now();"),
        nothing
    );

    assert_eq!(found(module_docs, library, "use std::fmt;"), [1]);
    assert_eq!(found(notes, "README.md", concat!("a\n", "TO", "DO: b")), [2]);
    assert_eq!(
        found(promise, "README.md", concat!("Delivers exactly", "-once.\nNever exactly", " once.")),
        [1]
    );
    assert_eq!(found(unwraps, library, "/// x.unwrap()\nx.unwrap();\nlet text = \".unwrap()\";"), [2]);

    let migration = "migrations/V9__more.sql";
    assert_eq!(found(migration_header, migration, "create table t ();"), [1, 1]);
    assert_eq!(
        found(migration_header, migration, "-- More.\n--\n-- Locks: none.\ncreate table t ();"),
        nothing
    );
    assert_eq!(found(migration_header, "migrations/functions/more.sql", "-- More.\n"), nothing);
    assert_eq!(found(migration_header, "migrations/functions/more.sql", "create table t ();"), [1]);
    assert_eq!(found(lower_case, migration, "-- Yes\nselect 'Yes';\nSELECT 1;"), [3]);
    assert_eq!(
        found(search_path, migration, "create function f() returns void\nas $$ $$;\ncreate table t ();"),
        [1]
    );
    assert_eq!(
        found(search_path, migration, "create function f() returns integer\nlanguage sql\nreturn 1;"),
        nothing
    );
}
