//! The values that a statement takes.

use std::borrow::Cow;

/// A value that a statement takes, with its type in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parameter<'a> {
    /// A `text`, or null.
    Text(Option<&'a str>),
    /// An `integer`.
    Int4(i32),
    /// A `bigint`, or null.
    Int8(Option<i64>),
    /// A `text[]`.
    Texts(&'a [Option<Cow<'a, str>>]),
}
