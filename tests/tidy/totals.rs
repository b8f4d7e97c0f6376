//! Rules about the project as a whole: totals, and tests that documents name.

use crate::functions::sql_functions;
use crate::rules::Finding;
use crate::source::File;
use std::collections::BTreeSet;

const MAX_SQL_FUNCTIONS: usize = 121;
const MAX_SQL_LINES: usize = 4_500;
const MAX_GLOSSARY_ROWS: usize = 45;
const MAX_TEST_NAME: usize = 60;

const GLOSSARY: &str = "docs/glossary.md";
const PROMISES: &str = "docs/promises.md";

pub(crate) fn sql_size(files: &[File]) -> Vec<Finding> {
    let sql = || files.iter().filter(|file| file.path.starts_with("migrations/") && file.is(".sql"));
    let functions: usize = sql().map(|file| sql_functions(file).len()).sum();
    let lines: usize = sql().map(|file| file.text.lines().count()).sum();
    let limits = [("functions", functions, MAX_SQL_FUNCTIONS), ("lines of SQL", lines, MAX_SQL_LINES)];
    let broken = limits.into_iter().filter(|(_, count, limit)| count > limit);
    let describe = |(what, count, limit): (&str, usize, usize)| {
        // An exception names this bound: it excuses an excess as it is, and not what is added to it.
        let bound = count.next_multiple_of(100);
        Finding::new("migrations", 1, format!("{count} {what}, above {limit} and at most {bound}"))
    };
    broken.map(describe).collect()
}

pub(crate) fn glossary(files: &[File]) -> Vec<Finding> {
    let glossary = files.iter().filter(|file| file.path == GLOSSARY);
    let rows = |file: &File| {
        let rows = file.text.lines().filter(|line| line.starts_with("| ")).count();
        // The first is the header.
        let rows = rows.saturating_sub(1);
        (rows > MAX_GLOSSARY_ROWS).then(|| Finding::new(GLOSSARY, 1, format!("{rows} rows")))
    };
    glossary.filter_map(rows).collect()
}

/// A test: its file, its line and its name.
struct Test<'a> {
    file: &'a str,
    line: usize,
    name: &'a str,
}

fn tests(file: &File) -> Vec<Test<'_>> {
    let lines: Vec<&str> = file.code.lines().collect();
    let is_test = |code: &str| {
        let code = code.trim();
        ["#[test]", "#[tokio::test", "#[actix::test"].iter().any(|attribute| code.starts_with(attribute))
    };
    let mut tests = Vec::new();
    for at in (0..lines.len()).filter(|&at| file.is(".rs") && is_test(lines[at])) {
        let name = |(line, code): (usize, &&'_ str)| {
            let (_, rest) = code.split_once("fn ")?;
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let start = code.len() - rest.len();
            Some((line, start..start + end))
        };
        if let Some((line, name)) = (at..).zip(&lines[at..]).find_map(name) {
            tests.push(Test { file: &file.path, line: line + 1, name: &lines[line][name] });
        }
    }
    tests
}

pub(crate) fn test_names(files: &[File]) -> Vec<Finding> {
    let long = |test: &Test<'_>| test.name.len() > MAX_TEST_NAME;
    let describe = |test: Test<'_>| {
        Finding::new(test.file, test.line, format!("`{}` has {} characters", test.name, test.name.len()))
    };
    files.iter().flat_map(tests).filter(long).map(describe).collect()
}

/// Checks the tests that the list of promises names: `module::test` is in `tests/it`, and a name that is followed by
/// "in `path`" is in that file.
pub(crate) fn promises(files: &[File]) -> Vec<Finding> {
    let Some(promises) = files.iter().find(|file| file.path == PROMISES) else {
        return vec![Finding::new(PROMISES, 1, "is missing")];
    };
    let known: BTreeSet<String> = files.iter().flat_map(tests).map(|test| full_name(&test)).collect();
    let mut findings = Vec::new();
    let mut named = 0;
    for (line, name, place) in named_tests(&promises.text) {
        let full = match place {
            Some(path) => format!("{path}::{name}"),
            None => name.to_owned(),
        };
        named += 1;
        if !known.contains(&full) {
            findings.push(Finding::new(PROMISES, line, format!("there is no test `{full}`")));
        }
    }
    if named == 0 {
        findings.push(Finding::new(PROMISES, 1, "names no test"));
    }
    findings
}

/// `module::test` of a test in `tests/it`, and `path::test` of any other.
fn full_name(test: &Test<'_>) -> String {
    let Some(path) = test.file.strip_prefix("tests/it/").and_then(|path| path.strip_suffix(".rs")) else {
        return format!("{}::{}", test.file, test.name);
    };
    let module = path.trim_end_matches("/mod").replace('/', "::");
    format!("{module}::{}", test.name)
}

/// The tests that a text names, with their lines, and the file that it says each is in.
fn named_tests(text: &str) -> Vec<(usize, &str, Option<&str>)> {
    let mut named = Vec::new();
    let pieces: Vec<&str> = text.split('`').collect();
    let mut line = 1;
    for (at, piece) in pieces.iter().enumerate() {
        let is_path = piece.split("::").all(|part| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        });
        let place = pieces.get(at + 1).filter(|between| between.split_whitespace().eq(["in"]));
        let place = place.and_then(|_| pieces.get(at + 2)).copied().filter(|path| path.ends_with(".rs"));
        let is_test = is_path && (piece.contains("::") || place.is_some());
        if at % 2 == 1 && is_test {
            named.push((line, *piece, place.filter(|path| !path.starts_with("tests/it/"))));
        }
        line += piece.matches('\n').count();
    }
    named
}

#[test]
fn tests_in_documents_are_found() {
    let text = "`a::b_c` and\n`d_e` in `tests/d.rs`, `f` is none, nor is `G::h`.";
    assert_eq!(named_tests(text), [(1, "a::b_c", None), (2, "d_e", Some("tests/d.rs"))]);
}
