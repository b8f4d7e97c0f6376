//! The rules. Most look at one file and return the lines that break them.

use crate::source::File;

/// A line that breaks a rule of one file, and the reason.
pub(crate) type Found = (usize, String);

/// A rule of one file.
pub(crate) type FileRule = fn(&File) -> Vec<Found>;

/// A line of the project that breaks a rule, and the reason.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

/// A rule of the project as a whole.
pub(crate) type ProjectRule = fn(&[File]) -> Vec<Finding>;

const MAX_LINES: usize = 400;

/// Where a foreign crate may be named in the library.
const PLACES: &[(&str, &[&str])] = &[
    ("tokio_postgres", &["store/", "testing/", "error"]),
    ("deadpool_postgres", &["store/"]),
    ("deadpool", &["store/"]),
    ("rustls", &["store/tls", "store/target.rs"]),
    ("tokio_postgres_rustls", &["store/tls"]),
    ("actix", &["actors/", "runtime/", "testing/", "model/delivery.rs"]),
    ("actix_rt", &["actors/", "runtime/"]),
    ("actix_http_3", &["runtime/web"]),
    ("actix_service_2", &["runtime/web"]),
    ("actix_web_4", &["runtime/web"]),
    ("diesel_2", &["store/executor"]),
    ("diesel_async_0_9", &["store/executor"]),
    ("sea_orm_2", &["store/executor"]),
    ("sqlx_0_9", &["store/executor"]),
    ("rustix", &["testing/"]),
    ("flate2", &["testing/supply/"]),
    ("sha2", &["testing/supply/"]),
    ("tar", &["testing/supply/"]),
];

/// Words of code that depends on more than its arguments.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "fastrand",
    "SystemTime",
    "Instant::now",
    "std::env",
    "std::fs",
    "std::thread",
];

/// Words of a sentence that denies the stronger promise.
const DENIALS: &[&str] = &["not", "no", "never", "neither", "nor", "cannot", "without"];

pub(crate) fn length(file: &File) -> Vec<Found> {
    let lines = file.text.lines().count();
    let long = lines > MAX_LINES && !file.is(".md");
    long.then(|| (MAX_LINES + 1, format!("{lines} lines"))).into_iter().collect()
}

/// Whether a line of code contains a word, or a path, as a whole.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

pub(crate) fn places(file: &File) -> Vec<Found> {
    let Some(path) = file.in_library() else { return Vec::new() };
    let foreign = |(line, code): (usize, &str)| {
        let named = PLACES.iter().filter(|(name, _)| names(code, name));
        let misplaced = named.filter(|(_, allowed)| !allowed.iter().any(|place| path.starts_with(place)));
        misplaced.map(|(name, _)| (line, format!("`{name}` is not named here"))).collect::<Vec<_>>()
    };
    // A delivery is an actix message and uses nothing else of actix.
    let message =
        |(_, code): &(usize, &str)| path != "model/delivery.rs" || code.trim() != "use actix::Message;";
    let strict = |(line, code): (usize, &str)| {
        let more = path == "model/delivery.rs" && names(code, "actix");
        more.then(|| (line, "only `use actix::Message;`".to_owned())).into_iter().chain(foreign((line, code)))
    };
    file.lines().filter(message).flat_map(strict).collect()
}

pub(crate) fn purity(file: &File) -> Vec<Found> {
    let policy = file.in_library().is_some_and(|path| path.starts_with("policy/"));
    let impure = |(line, code): (usize, &str)| {
        let found = IMPURE.iter().find(|word| policy && names(code, word));
        found.map(|word| (line, format!("`{word}`: pass it in as an argument")))
    };
    file.lines().filter_map(impure).collect()
}

pub(crate) fn module_docs(file: &File) -> Vec<Found> {
    let module = file.is(".rs")
        && (file.path.starts_with("pubsub/src/") || file.path.starts_with("pubsub-derive/src/"));
    let silent = module && !file.text.starts_with("//! ");
    silent.then(|| (1, "starts without a `//!` line".to_owned())).into_iter().collect()
}

pub(crate) fn notes(file: &File) -> Vec<Found> {
    // Put together here, so that this file does not break the rule.
    let words =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!"], ["unimplemented", "!"], ["dbg", "!"]]
            .map(|w| w.concat());
    let note = |(line, text): (usize, &str)| {
        let found = words.iter().find(|word| text.contains(&***word))?;
        Some((line, format!("`{found}`: do it, or open an issue")))
    };
    (1..).zip(file.text.lines()).filter_map(note).collect()
}

pub(crate) fn promise(file: &File) -> Vec<Found> {
    let promised = |(line, text): (usize, &str)| {
        let text = text.to_lowercase().replace('-', " ");
        let denied = || DENIALS.iter().any(|word| names(&text, word)) || text.contains("n't");
        (text.contains(concat!("exactly", " once")) && !denied())
            .then(|| (line, "this is not promised".to_owned()))
    };
    (1..).zip(file.text.lines()).filter_map(promised).collect()
}

pub(crate) fn unwraps(file: &File) -> Vec<Found> {
    let library = file.is(".rs")
        && (file.path.starts_with("pubsub/src/") || file.path.starts_with("pubsub-derive/src/"));
    let unwraps = |(_, code): &(usize, &str)| library && code.contains(".unwrap()");
    file.lines()
        .filter(unwraps)
        .map(|(line, _)| (line, "use `?`, or `expect` and say why it cannot fail".to_owned()))
        .collect()
}

fn is_migration(file: &File) -> bool {
    file.path.starts_with("migrations/") && file.is(".sql")
}

pub(crate) fn migration_header(file: &File) -> Vec<Found> {
    let mut missing = Vec::new();
    if is_migration(file) && !file.text.starts_with("-- ") {
        missing.push((1, "the first line does not say what it is for".to_owned()));
    }
    let header = || file.text.lines().take_while(|line| line.starts_with("--"));
    let functions = file.path.starts_with("migrations/functions/");
    if is_migration(file) && !functions && !header().any(|line| line.starts_with("-- Locks: ")) {
        missing.push((1, "the header has no line `-- Locks: ..`".to_owned()));
    }
    missing
}

pub(crate) fn lower_case(file: &File) -> Vec<Found> {
    let upper = |(_, code): &(usize, &str)| file.is(".sql") && code.chars().any(char::is_uppercase);
    file.lines().filter(upper).map(|(line, code)| (line, format!("`{}`", code.trim()))).collect()
}

/// Exempt are bodies whose names are resolved when they are defined: such functions can be inlined.
pub(crate) fn search_path(file: &File) -> Vec<Found> {
    let starts = ["create function ", "create or replace function "];
    let lines: Vec<_> = if file.is(".sql") { (1..).zip(file.code.lines()).collect() } else { Vec::new() };
    let begins = |code: &str| starts.iter().any(|start| code.starts_with(start));
    let lost = |(at, &(line, code)): (usize, &(usize, &str))| {
        let end = lines[at + 1..]
            .iter()
            .position(|(_, code)| code.starts_with("create "))
            .map_or(lines.len(), |n| at + 1 + n);
        let safe = !begins(code)
            || lines[at..end].iter().any(|(_, code)| {
                code.starts_with("return ")
                    || code.contains("set search_path = pg_catalog, pg_temp")
                    || code.ends_with("begin atomic")
            });
        (!safe).then(|| (line, "add `set search_path = pg_catalog, pg_temp`".to_owned()))
    };
    lines.iter().enumerate().filter_map(lost).collect()
}
