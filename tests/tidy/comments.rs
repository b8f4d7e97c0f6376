//! Rules about comments.

use crate::rules::Found;
use crate::source::File;

/// Words with which no comment begins: they begin a noun clause where the reader expects a noun or a verb.
const NO_BEGINNINGS: &[&str] = &["What", "Who", "Of", "Whoever", "Whom"];

pub(crate) fn beginnings(file: &File) -> Vec<Found> {
    if !file.is(".rs") && !file.is(".sql") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut last = (0, "");
    for (line, comment) in &file.comments {
        let text = comment.trim_start_matches(['/', '!', '*', '-']);
        let marker = &comment[..comment.len() - text.len()];
        let continues = last == (line - 1, marker);
        last = if text.trim().is_empty() { (0, "") } else { (*line, marker) };
        let first = text.trim_start().split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if !continues && NO_BEGINNINGS.contains(&first) {
            findings.push((*line, format!("the comment begins with `{first}`")));
        }
    }
    findings
}
