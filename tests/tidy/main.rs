//! The house rules that a machine can check. A finding names its file and line.
//!
//! The rules read text: comments and literals are removed, and the rest is searched for words, imports and paths. Every rule
//! is also tried on made-up files that break it, so that a rule that can no longer fail is noticed.

mod comments;
mod exceptions;
mod functions;
mod graph;
mod layers;
mod made_up;
mod modules;
mod peers;
mod rules;
mod source;
mod totals;

use rules::{FileRule, Finding, ProjectRule};
use source::{File, collect};
use std::path::Path;

/// The rules of one file.
const FILE_RULES: &[(&str, FileRule)] = &[
    ("files are at most 400 lines long", rules::length),
    ("functions are short", functions::length),
    ("no comment begins with What, Who or Of", comments::beginnings),
    ("each foreign crate has its place", rules::places),
    ("the policy is pure", rules::purity),
    ("a module begins with its purpose", rules::module_docs),
    ("no notes to self", rules::notes),
    ("at least once, and nowhere more than that", rules::promise),
    ("no unwrap outside of tests", rules::unwraps),
    ("a migration has its header", rules::migration_header),
    ("SQL is lower case", rules::lower_case),
    ("a function of SQL sets its search_path", rules::search_path),
];

/// The rules of the project as a whole.
const PROJECT_RULES: &[(&str, ProjectRule)] = &[
    ("no circle of files", graph::circles),
    ("layers use lower layers only", layers::layers),
    ("actors do not use each other", layers::actors),
    ("the SQL is small", totals::sql_size),
    ("the glossary is short", totals::glossary),
    ("test names are short", totals::test_names),
    ("promises name tests that exist", totals::promises),
];

/// The project's root and files.
fn project() -> (&'static Path, Vec<File>) {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a directory of the workspace");
    let mut files = Vec::new();
    collect(root, root, &mut files);
    assert!(files.len() > 100, "only {} files under {}", files.len(), root.display());
    (root, files)
}

/// All findings in these files, each with the name of its rule.
fn findings(files: &[File]) -> Vec<(&'static str, Finding)> {
    let mut findings = Vec::new();
    for (name, rule) in FILE_RULES {
        for file in files {
            let found = rule(file).into_iter().map(|(line, what)| Finding::new(&file.path, line, what));
            findings.extend(found.map(|finding| (*name, finding)));
        }
    }
    for (name, rule) in PROJECT_RULES {
        findings.extend(rule(files).into_iter().map(|finding| (*name, finding)));
    }
    findings
}

#[test]
fn the_house_rules_hold() {
    let (_, files) = project();
    let broken = exceptions::without(findings(&files));
    assert!(broken.is_empty(), "{} violations of the house rules:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn links_between_documents_are_alive() {
    let (root, files) = project();
    let mut dead = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let directory = root.join(&file.path);
        let directory = directory.parent().expect("a file is in a directory");
        let is_dead = |(_, target): &(usize, &str)| !directory.join(target).exists();
        let describe = |(line, target)| format!("{}:{line}: {target}", file.path);
        dead.extend(links(&file.text).filter(is_dead).map(describe));
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

#[test]
fn links_are_found() {
    let text = "[a](b.md) and [c](d/e.md#f)\n[g](#h) [i](https://j) `k[l](m)`";
    assert_eq!(links(text).collect::<Vec<_>>(), [(1, "b.md"), (1, "d/e.md"), (2, "m")]);
}
