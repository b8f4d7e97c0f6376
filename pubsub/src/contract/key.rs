//! Keys and dedupe keys that are made of an event's fields.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Display;

/// A field that can be the key of an event, or a part of it. `None` is no key.
///
/// `Kind` keeps its two implementations apart, and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, because it does not implement `Display`",
    label = "not a key",
    note = "choose a field that is text or a number, such as an id, or an `Option` of one; or write `impl std::fmt::Display` for the type"
)]
pub trait AsKey<Kind> {
    /// The key as text.
    fn as_key(&self) -> Option<Cow<'_, str>>;
}

/// Of what implements `Display`.
#[derive(Debug)]
pub enum Shown {}

/// Of an `Option` of such.
#[derive(Debug)]
pub enum Optional {}

#[diagnostic::do_not_recommend]
impl<T: Display + 'static> AsKey<Shown> for T {
    fn as_key(&self) -> Option<Cow<'_, str>> {
        // The usual key is text already.
        match (self as &dyn Any).downcast_ref::<String>() {
            Some(text) => Some(Cow::Borrowed(text)),
            None => Some(Cow::Owned(self.to_string())),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Display + 'static> AsKey<Optional> for Option<T> {
    fn as_key(&self) -> Option<Cow<'_, str>> {
        self.as_ref()?.as_key()
    }
}

/// The parts of a key in one piece; no key if one of them is none.
#[must_use]
pub fn joined<'a, const PARTS: usize>(parts: [Option<Cow<'a, str>>; PARTS]) -> Option<Cow<'a, str>> {
    let mut key = String::new();
    for part in parts {
        key.push_str(&part?);
    }
    Some(Cow::Owned(key))
}

/// A piece of text between the fields of a key.
#[must_use]
pub fn text(text: &'static str) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_can_be_shown_is_a_key_and_none_is_no_key() {
        assert_eq!(17_i64.as_key().as_deref(), Some("17"));
        assert_eq!(String::from("a").as_key(), Some(Cow::Borrowed("a")));
        assert!(matches!(String::from("a").as_key(), Some(Cow::Borrowed(_))), "text is not copied");
        assert_eq!(Some(17).as_key().as_deref(), Some("17"));
        assert_eq!(None::<String>.as_key(), None);
    }

    #[test]
    fn a_part_that_is_none_makes_no_key() {
        assert_eq!(joined([7.as_key(), text(":"), 'x'.as_key()]).as_deref(), Some("7:x"));
        assert_eq!(joined([7.as_key(), text(":"), None::<u8>.as_key()]), None);
    }
}
