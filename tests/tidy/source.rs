//! The files of the project, with their code and comments.

use std::fs;
use std::path::Path;

/// A file of the project. `path` is relative to its root, with `/`.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text without comments and literals, with the same lines.
    pub(crate) code: String,
    /// The comments, with their lines.
    pub(crate) comments: Vec<(usize, String)>,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, comments) = match path.rsplit_once('.') {
            Some((_, "rs")) => split(text, rust_literal),
            Some((_, "sql")) => split(text, sql_literal),
            _ => (text.to_owned(), Vec::new()),
        };
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    pub(crate) fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }

    /// The path below `pubsub/src/`, of a file of the library.
    pub(crate) fn in_library(&self) -> Option<&str> {
        self.path.strip_prefix("pubsub/src/").filter(|_| self.is(".rs"))
    }

    /// The lines of code without unit tests, from 1. Unit tests are at the end of their file.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines().take_while(|line| line.trim() != "#[cfg(test)]"))
    }
}

/// Reads the sources and documents under `directory`. Links are skipped, because their target is read in its own place.
pub(crate) fn collect(root: &Path, directory: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let entry = entry.expect("a directory can be read to its end");
        let (kind, path) = (entry.file_type().expect("an entry has a type"), entry.path());
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() && !name.starts_with('.') && !["target", "wip"].contains(&&*name) {
            collect(root, &path, files);
        } else if kind.is_file() && [".rs", ".sql", ".md"].iter().any(|ending| name.ends_with(ending)) {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path =
                path.strip_prefix(root).expect("it is under the root").to_string_lossy().replace('\\', "/");
            files.push(File::new(&path, &text));
        }
    }
}

/// Returns a text in which comments and literals are replaced by their line breaks, and the comments. `literal` returns the
/// length of the comment or literal that a text begins with, or 0.
fn split(text: &str, literal: fn(&str) -> usize) -> (String, Vec<(usize, String)>) {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    let (mut comments, mut line) = (Vec::new(), 1);
    while let Some(next) = rest.chars().next() {
        let length = literal(rest);
        let (dropped, left) = rest.split_at(if length == 0 { next.len_utf8() } else { length });
        match length {
            0 => code.push(next),
            _ => code.extend(dropped.chars().filter(|&c| c == '\n').chain([' '])),
        }
        if length > 0 && ["//", "/*", "--"].iter().any(|comment| dropped.starts_with(comment)) {
            comments.push((line, dropped.to_owned()));
        }
        line += dropped.matches('\n').count();
        rest = left;
    }
    (code, comments)
}

fn rust_literal(text: &str) -> usize {
    let until =
        |skip: usize, end: &str| text[skip..].find(end).map_or(text.len(), |at| skip + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    if let Some(after) = text.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        return if after[hashes..].starts_with('"') {
            until(hashes + 2, &format!("\"{}", "#".repeat(hashes)))
        } else {
            0
        };
    }
    let mut characters = text.char_indices();
    match characters.next() {
        Some((_, '"')) => loop {
            match characters.next() {
                Some((at, '"')) => return at + 1,
                Some((_, '\\')) => drop(characters.next()),
                Some(_) => {}
                None => return text.len(),
            }
        },
        // A character, or a lifetime, which has no second quote.
        Some((_, '\'')) => match (characters.next(), characters.next()) {
            (Some((_, '\\')), Some((at, escaped))) => until(at + escaped.len_utf8(), "'"),
            (Some(_), Some((at, '\''))) => at + 1,
            _ => 0,
        },
        _ => 0,
    }
}

fn sql_literal(text: &str) -> usize {
    let until = |end: char| text[1..].find(end).map_or(text.len(), |at| at + 2);
    match text.as_bytes() {
        [b'\'', ..] => until('\''),
        [b'"', ..] => until('"'),
        [b'-', b'-', ..] => text.find('\n').unwrap_or(text.len()),
        _ => 0,
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a /* b\n c */ 'd' \"e // \\\" f\" r#\"g \" h\"# <'i> '\\'' j // k\nl";
    let code = File::new("x.rs", text).code;
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "<'i>", "j", "l"]);
    assert_eq!(code.lines().count(), 3);
}
