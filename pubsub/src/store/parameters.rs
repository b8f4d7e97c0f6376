//! The parameters of a target, by name.

mod notation;

use crate::error::{Error, invalid_url};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The parameters that this library knows. They have libpq's names and meanings.
const KNOWN: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The parameters of a target. One without a value counts as not given.
pub(super) struct Parameters(BTreeMap<&'static str, Vec<u8>>);

impl Parameters {
    /// Reads a target, and refuses unknown parameters by name.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let mut parameters = BTreeMap::new();
        for (name, value) in notation::read(text)? {
            let Some(known) = KNOWN.iter().find(|known| **known == name) else {
                // Without its scheme, or with another one, the whole URL is taken for a name.
                let is_word = name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_');
                let named =
                    if is_word { format!("the parameter `{name}`") } else { "a parameter".to_owned() };
                return Err(invalid_url(format!(
                    "{named} is unknown; the known ones are {}",
                    KNOWN.join(", ")
                )));
            };
            // The protocol ends texts with it.
            if value.contains(&0) {
                return Err(invalid_url(format!("the value of `{known}` has a NUL character")));
            }
            parameters.insert(*known, value);
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let text = self.bytes(name).map(std::str::from_utf8).transpose();
        text.map_err(|_| invalid_url(format!("the value of `{name}` is not UTF-8")))
    }

    /// Reads values that are separated by commas. Empty if there are none.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&str>, Error> {
        Ok(self.text(name)?.map_or_else(Vec::new, |values| values.split(',').collect()))
    }

    /// Reads a number. Zero and less are libpq's words for no number.
    pub(super) fn positive<T: FromStr + Default + PartialOrd>(&self, name: &str) -> Result<Option<T>, Error> {
        let number = self.text(name)?.map(|value| value.trim().parse::<T>()).transpose();
        let number = number
            .map_err(|_| invalid_url(format!("the value of `{name}` is not a number that it can have")))?;
        Ok(number.filter(|number| *number > T::default()))
    }

    /// Reads a parameter that has one of a few values.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(value) = self.text(name)? else { return Ok(None) };
        if let Some((_, choice)) = choices.iter().find(|(choice, _)| *choice == value) {
            return Ok(Some(*choice));
        }
        let choices: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        Err(invalid_url(format!("`{name}` must be one of {}, not `{value}`", choices.join(", "))))
    }
}
