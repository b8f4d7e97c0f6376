//! Keys and deduplication keys that are made of an event's fields.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Display;

/// A field that can be the key of an event, or a part of it. `None` is no key.
///
/// `Kind` keeps the two implementations apart, and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, because it does not implement `Display`",
    label = "not a key",
    note = "choose a field that is text or a number, such as an id, or an `Option` of one; or implement `std::fmt::Display` for the type"
)]
pub trait AsKey<Kind> {
    /// Returns the key as text.
    fn as_key(&self) -> Option<Cow<'_, str>>;
}

/// The kind of a type that implements `Display`.
#[derive(Debug)]
pub enum ByDisplay {}

/// The kind of an `Option` of such a type.
#[derive(Debug)]
pub enum ByOption {}

#[diagnostic::do_not_recommend]
impl<T: Display + 'static> AsKey<ByDisplay> for T {
    fn as_key(&self) -> Option<Cow<'_, str>> {
        // Most keys are text already, and need no copy.
        match (self as &dyn Any).downcast_ref::<String>() {
            Some(text) => Some(Cow::Borrowed(text)),
            None => Some(Cow::Owned(self.to_string())),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Display + 'static> AsKey<ByOption> for Option<T> {
    fn as_key(&self) -> Option<Cow<'_, str>> {
        self.as_ref()?.as_key()
    }
}

/// Returns a field as a piece of a key: the characters of `marks`, and the backslash, are behind a backslash. So two events with
/// different fields have different keys, whatever text the fields have: no field has a bare separator.
#[must_use]
pub fn escaped<'a>(field: Option<Cow<'a, str>>, marks: &str) -> Option<Cow<'a, str>> {
    let field = field?;
    let is_mark = |letter: char| letter == '\\' || marks.contains(letter);
    if !field.contains(is_mark) {
        return Some(field);
    }
    let mut escaped = String::with_capacity(field.len() + 8);
    for letter in field.chars() {
        if is_mark(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    Some(Cow::Owned(escaped))
}

/// Joins the pieces of a key. Returns `None` if one of them is `None`.
#[must_use]
pub fn join<'a, const PIECES: usize>(pieces: [Option<Cow<'a, str>>; PIECES]) -> Option<Cow<'a, str>> {
    let mut key = String::new();
    for piece in pieces {
        key.push_str(&piece?);
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn different_fields_make_different_keys(
            one in proptest::array::uniform3("[ab:/\\\\]{0,3}"), two in proptest::array::uniform3("[ab:/\\\\]{0,3}"),
        ) {
            let key = |[a, b, c]: &[String; 3]| {
                let [a, b, c] = [a, b, c].map(|field| escaped(field.as_key(), ":/").map(Cow::into_owned));
                let own = |piece: Option<String>| piece.map(Cow::Owned);
                join([own(a), text(":"), own(b), text("//"), own(c)])
            };
            prop_assert_eq!(key(&one) == key(&two), one == two);
        }
    }

    #[test]
    fn a_field_without_separators_is_not_changed() {
        assert_eq!(escaped(text("a-b"), ":").as_deref(), Some("a-b"));
        assert_eq!(escaped(text("x:y"), ":").as_deref(), Some("x\\:y"));
        assert_eq!(escaped(None, ":"), None);
    }

    #[test]
    fn a_displayed_value_is_a_key_and_none_is_no_key() {
        assert_eq!(17_i64.as_key().as_deref(), Some("17"));
        assert_eq!(String::from("a").as_key(), Some(Cow::Borrowed("a")));
        assert!(matches!(String::from("a").as_key(), Some(Cow::Borrowed(_))), "text is not copied");
        assert_eq!(Some(17).as_key().as_deref(), Some("17"));
        assert_eq!(None::<String>.as_key(), None);
    }

    #[test]
    fn a_piece_that_is_none_makes_no_key() {
        assert_eq!(join([7.as_key(), text(":"), 'x'.as_key()]).as_deref(), Some("7:x"));
        assert_eq!(join([7.as_key(), text(":"), None::<u8>.as_key()]), None);
    }
}
