//! The report: the conditions and the tables, and what is to be known of each contender. Both are printed, and may replace what is
//! between two markers in docs/benchmarks.md.

use crate::contender::{Contender, Setting};
use crate::database::Database;
use crate::table::{Section, render};
use crate::workloads::Size;
use anyhow::{Context, Result};
use pubsub::testing::Server;
use std::path::Path;

/// The parts of the document that this program writes.
pub(crate) const FIGURES: &str = "figures of the peers";
pub(crate) const CONTENDERS: &str = "contenders";

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/benchmarks.md");

/// The conditions of a run.
pub(crate) async fn conditions(server: &Server, rounds: usize, size: Size) -> Result<Vec<String>> {
    let database = Database::create(server, "conditions").await?;
    let mut settings = Vec::new();
    for setting in ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers"] {
        settings.push(format!("`{setting} = {}`", database.show(setting).await?));
    }
    let version = database.show("server_version").await?;
    database.drop().await?;
    let cores = std::thread::available_parallelism()?;
    let mut conditions = vec![
        format!(
            "PostgreSQL {version} with {}; autovacuum on; no checkpoint during a turn.",
            settings.join(", ")
        ),
        format!("{cores} cores, which the server, the publishers and the worker share."),
        format!(
            "{rounds} rounds, in turns whose order is reversed from round to round. Each value is the median, and each \
             ratio the median of the rounds' ratios.",
        ),
        format!("Backlogs of {} events. Publishers take {} s.", size.events, size.seconds),
    ];
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let load = load.split(' ').next().unwrap_or("unknown");
        conditions.push(format!("The load of the machine before the first turn was {load}."));
    }
    Ok(conditions)
}

/// The conditions and the tables.
pub(crate) fn figures(conditions: &[String], sections: &[Section]) -> String {
    let mut text = String::new();
    for condition in conditions {
        text += &format!("- {condition}\n");
    }
    for section in sections {
        text += &format!("\n{}", render(section));
    }
    text
}

/// The contenders: their versions, settings and lacks.
pub(crate) fn describe_all(contenders: &[Contender]) -> String {
    contenders.iter().map(describe).collect::<Vec<_>>().join("\n\n")
}

/// A contender: its version, settings and lacks.
fn describe(contender: &Contender) -> String {
    let version =
        contender.version().map_or("this version".to_owned(), |version| format!("version {version}"));
    let settings = if contender.settings.is_empty() { "default settings" } else { "with these settings:" };
    let mut text = format!("**{}**, {version}, {settings}", contender.name);
    for Setting { setting, source } in contender.settings {
        text += &format!("\n- {setting} (source: {source})");
    }
    for lack in contender.lacks {
        text += &format!("\n- lacks {lack}");
    }
    text
}

/// Replaces a part of docs/benchmarks.md.
pub(crate) fn write(part: &str, text: &str) -> Result<()> {
    let path = Path::new(DOCUMENT);
    let document =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let document = replace(&document, part, text).with_context(|| format!("it has no markers for {part}"))?;
    std::fs::write(path, document).with_context(|| format!("cannot write {}", path.display()))
}

/// Replaces what is between the markers of a part. `None` if they are missing.
fn replace(document: &str, part: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {part}: begin -->"), format!("<!-- {part}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders;

    #[test]
    fn only_the_text_between_the_markers_is_replaced() {
        let document = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n";
        let replaced = "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n";
        assert_eq!(replace(document, "x", "new\n").as_deref(), Some(replaced));
        assert_eq!(replace(document, "y", "new"), None);
    }

    #[test]
    fn the_document_describes_the_contenders_as_they_are() -> Result<()> {
        let document = std::fs::read_to_string(DOCUMENT)?;
        let described = replace(&document, CONTENDERS, &describe_all(&contenders::all()));
        assert_eq!(described.as_deref(), Some(&*document), "run the subcommand `describe --write`");
        Ok(())
    }

    #[test]
    fn the_document_has_a_place_for_the_figures() -> Result<()> {
        let document = std::fs::read_to_string(DOCUMENT)?;
        assert!(replace(&document, FIGURES, "").is_some());
        Ok(())
    }
}
