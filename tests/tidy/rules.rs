//! The rules. Each looks at one file, and tells the lines that break it.

use crate::source::File;

/// What a rule found: a line, and what is wrong with it.
pub(crate) type Found = (usize, String);

pub(crate) type Rule = fn(&File) -> Vec<Found>;

const MAX_LINES: usize = 400;

/// Which modules of the library may be imported by which. A name with `::` is one submodule.
const LAYERS: &[(&str, &[&str])] = &[
    ("bin", &[]),
    ("config", &[]),
    ("panics", &[]),
    ("error", &["model::payload"]),
    ("observe", &["panics"]),
    ("contract", &["contract"]),
    ("model", &["model", "contract", "error", "panics"]),
    ("policy", &["policy", "model"]),
    // The command line: it uses nothing of the library.
    ("bin", &[]),
    ("store", &["store", "policy", "model", "contract", "error"]),
    ("actors", &["actors", "store", "policy", "model", "contract", "error", "observe", "panics"]),
    // `__private::routes`: in a macro that others expand.
    (
        "runtime",
        &[
            "runtime",
            "actors",
            "store",
            "policy",
            "model",
            "contract",
            "error",
            "observe",
            "config",
            "__private::routes",
        ],
    ),
    // Stands beside the rest, and uses it as anybody would, by its public names, but for two.
    (
        "testing",
        &[
            "testing",
            "Error",
            "migrate",
            "store::migrate::fingerprint",
            "panics::inject_panic",
            "panics::all_injected_panics_happened",
        ],
    ),
];

/// Where a foreign crate may be named in the library.
const PLACES: &[(&str, &[&str])] = &[
    ("tokio_postgres", &["store/", "testing/", "error.rs"]),
    ("deadpool_postgres", &["store/"]),
    ("actix", &["actors/", "runtime/", "model/delivery.rs"]),
    ("actix_rt", &["actors/", "runtime/"]),
    ("rustix", &["testing/"]),
];

/// What an actor may import beside its own submodules: what all of them share.
const SHARED: &[&str] = &["message", "handler_link", "arbiter_thread"];

/// What would make a decision depend on more than its arguments.
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

/// Words that make a sentence about the stronger promise a denial of it.
const DENIALS: &[&str] = &["not", "no", "never", "neither", "nor", "cannot", "without"];

pub(crate) fn length(file: &File) -> Vec<Found> {
    let lines = file.text.lines().count();
    let long = lines > MAX_LINES && !file.is(".md");
    long.then(|| (MAX_LINES + 1, format!("{lines} lines"))).into_iter().collect()
}

pub(crate) fn layers(file: &File) -> Vec<Found> {
    let Some(path) = file.in_library() else { return Vec::new() };
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        let known = path == "lib.rs";
        return if known {
            Vec::new()
        } else {
            vec![(1, format!("`{module}` is in no layer: add it to LAYERS"))]
        };
    };
    let allows = |import: &str| allowed.iter().any(|module| within(import, module));
    let refused =
        |import: String| (!allows(&import)).then(|| format!("`{module}` may not import `crate::{import}`"));
    let in_line = |(line, code)| imports(code, "crate::").filter_map(refused).map(move |what| (line, what));
    file.lines().flat_map(in_line).collect()
}

/// Whether a path is that of a module, or of something in it.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What follows `prefix` in a line: the path, as far as it is written in one piece.
fn imports<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    code.split(prefix).skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).unwrap_or(rest.len());
        rest[..end].trim_end_matches(':').to_owned()
    })
}

/// Whether a word, or a path, stands in a line of code by itself.
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
    // A delivery is an actix message; it knows no more of actix than that.
    let message =
        |(_, code): &(usize, &str)| path != "model/delivery.rs" || code.trim() != "use actix::Message;";
    let strict = |(line, code): (usize, &str)| {
        let more = path == "model/delivery.rs" && names(code, "actix");
        more.then(|| (line, "only `use actix::Message;`".to_owned())).into_iter().chain(foreign((line, code)))
    };
    file.lines().filter(message).flat_map(strict).collect()
}

pub(crate) fn actors(file: &File) -> Vec<Found> {
    let Some(path) = file.in_library().and_then(|path| path.strip_prefix("actors/")) else {
        return Vec::new();
    };
    let (actor, nested) = (path.split(['/', '.']).next().unwrap_or_default(), path.contains('/'));
    let allows = |import: &str| SHARED.iter().any(|shared| within(import, shared));
    file.lines()
        .flat_map(|(line, code)| {
            let aside = imports(code, "crate::actors::").filter(|import| !allows(import));
            // Only a submodule may look up, and only at its own actor.
            let up = imports(code, "super::").filter(|_| !nested);
            aside
                .chain(up)
                .map(move |import| (line, format!("`{actor}` may not import `{import}`")))
                .collect::<Vec<_>>()
        })
        .collect()
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

/// But for bodies whose names were resolved when they were defined: such functions can be inlined.
pub(crate) fn search_path(file: &File) -> Vec<Found> {
    let starts = ["create function ", "create or replace function "];
    let lines: Vec<_> = if file.is(".sql") { (1..).zip(file.code.lines()).collect() } else { Vec::new() };
    let begins = |code: &str| starts.iter().any(|start| code.starts_with(start));
    let lost = |(at, &(line, code)): (usize, &(usize, &str))| {
        let end = lines[at + 1..]
            .iter()
            .position(|(_, code)| code.starts_with("create "))
            .map_or(lines.len(), |n| at + 1 + n);
        let says = |wanted: &str| lines[at..end].iter().any(|(_, code)| code.starts_with(wanted));
        let safe = !begins(code)
            || says("set search_path = pg_catalog, pg_temp")
            || says("return ")
            || says("begin atomic");
        (!safe).then(|| (line, "add `set search_path = pg_catalog, pg_temp`".to_owned()))
    };
    lines.iter().enumerate().filter_map(lost).collect()
}
