//! The bodies of requests, and their checks.

use crate::problem::{ApiError, FieldProblem};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest name or item, in characters.
const LONGEST: usize = 80;

/// Input that can check itself.
pub(crate) trait Check {
    fn problems(&self) -> Vec<FieldProblem>;
}

/// A missing field takes its default and is found by [`Check`], so that one answer can name all problems.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewUser {
    pub(crate) name: String,
    pub(crate) email: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewOrder {
    pub(crate) customer: Option<i32>,
    pub(crate) item: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewMeeting {
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
}

/// Reads a body.
///
/// # Errors
/// [`ApiError::Invalid`], with every invalid field.
pub(crate) fn read<T: DeserializeOwned + Check>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let input: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.into_inner());
        // Input that is not a JSON object has no fields.
        let field = if problem.is_data() && path != "." { path } else { "body".to_owned() };
        ApiError::Invalid(vec![FieldProblem::new(field, problem)])
    })?;
    json.end().map_err(|error| ApiError::Invalid(vec![FieldProblem::new("body", error)]))?;
    let problems = input.problems();
    if problems.is_empty() { Ok(input) } else { Err(ApiError::Invalid(problems)) }
}

impl Check for NewUser {
    fn problems(&self) -> Vec<FieldProblem> {
        let name = line("name", &self.name);
        let email = line("email", &self.email).or_else(|| {
            let well_formed = self.email.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty()
                    && domain.contains('.')
                    && !domain.starts_with('.')
                    && !domain.ends_with('.')
            });
            let one_word = !self.email.contains(char::is_whitespace) && self.email.matches('@').count() == 1;
            let problem = format!("`{}` is not an e-mail address", self.email);
            (!well_formed || !one_word).then(|| FieldProblem::new("email", problem))
        });
        name.into_iter().chain(email).collect()
    }
}

impl Check for NewOrder {
    fn problems(&self) -> Vec<FieldProblem> {
        let customer = missing("customer", self.customer.is_none());
        customer.into_iter().chain(line("item", &self.item)).collect()
    }
}

impl Check for NewMeeting {
    fn problems(&self) -> Vec<FieldProblem> {
        let missing =
            missing("start", self.start.is_none()).into_iter().chain(missing("end", self.end.is_none()));
        let order = match (self.start, self.end) {
            (Some(start), Some(end)) if end <= start => {
                Some(FieldProblem::new("end", format!("must be after the start, {start}")))
            }
            _ => None,
        };
        missing.chain(order).collect()
    }
}

/// Returns the problem of a line of text, if it has one.
fn line(field: &str, text: &str) -> Option<FieldProblem> {
    if text.trim().is_empty() {
        missing(field, true)
    } else if text.chars().count() > LONGEST {
        Some(FieldProblem::new(field, format!("is longer than {LONGEST} characters")))
    } else if text.contains(char::is_control) {
        Some(FieldProblem::new(field, "contains a control character"))
    } else {
        None
    }
}

fn missing(field: &str, is_missing: bool) -> Option<FieldProblem> {
    is_missing.then(|| FieldProblem::new(field, "is missing or empty"))
}
