//! Findings that are known. The list only shrinks: an exception that excuses nothing is itself a finding.

use crate::rules::Finding;

const FUNCTIONS: &str = "functions are short";
const SQL: &str = "the SQL is small";

/// The name of a rule, and a part of the findings that it excuses.
const EXCEPTIONS: &[(&str, &str)] =
    &[(FUNCTIONS, "pubsub.claim"), (SQL, "lines of SQL, above 4500 and at most 4900")];

/// Describes the findings that no exception excuses, and the exceptions that excuse nothing.
pub(crate) fn without(findings: Vec<(&str, Finding)>) -> Vec<String> {
    unexcused(findings, EXCEPTIONS)
}

fn unexcused(findings: Vec<(&str, Finding)>, exceptions: &[(&str, &str)]) -> Vec<String> {
    let mut needed = vec![false; exceptions.len()];
    let mut broken = Vec::new();
    for (rule, Finding { path, line, what }) in findings {
        let finding = format!("{path}:{line}: {what} ({rule})");
        let excuse = exceptions.iter().position(|(of, part)| *of == rule && finding.contains(part));
        match excuse {
            Some(excuse) => needed[excuse] = true,
            None => broken.push(finding),
        }
    }
    let unneeded = exceptions.iter().zip(needed).filter(|(_, needed)| !needed);
    broken.extend(
        unneeded.map(|((rule, part), _)| format!("the exception for `{part}` is not needed ({rule})")),
    );
    broken
}

#[test]
fn an_exception_that_excuses_nothing_is_a_finding() {
    let findings = || vec![("a", Finding::new("x.rs", 1, "long")), ("a", Finding::new("y.rs", 2, "long"))];
    assert_eq!(unexcused(findings(), &[("a", "x.rs")]), ["y.rs:2: long (a)"]);
    assert_eq!(
        unexcused(findings(), &[("a", ".rs"), ("b", "x.rs")]),
        ["the exception for `x.rs` is not needed (b)"]
    );
}
