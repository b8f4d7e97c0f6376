//! Tests that need more of PostgreSQL than a server.

use pubsub::testing::program;
use std::fs::OpenOptions;
use std::io::Write;

/// The environment variable with the file in which tests are noted that were not run.
const NOT_RUN: &str = "PUBSUB_NOT_RUN";

/// Whether this machine's PostgreSQL has these programs. If not, the calling test returns at once: it was not run, and is noted
/// as such.
///
/// # Panics
/// If the note cannot be written.
pub fn has_programs(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|name| program(name).is_none()).copied().collect();
    if !missing.is_empty() {
        note_not_run(&missing.join(" and "));
    }
    missing.is_empty()
}

/// Notes that the calling test was not run for want of something.
///
/// # Panics
/// If the note cannot be written.
pub(crate) fn note_not_run(needs: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let note = format!("{test} needs {needs}");
    eprintln!("NOT RUN: {note}");
    if let Some(path) = std::env::var_os(NOT_RUN) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{note}"));
        written.expect("a place for the notes");
    }
}
