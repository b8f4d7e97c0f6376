//! `Debug` output of a payload without the values of its redacted fields.

use std::fmt::{self, Debug};

/// Printed instead of the value of a redacted field.
#[derive(Clone, Copy)]
pub struct Redacted;

impl Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A field that is not redacted. Its type may lack `Debug`, so a method call picks how it is printed: the inherent method
/// if the type implements `Debug`, and that of [`WithoutDebug`] if not.
#[derive(Debug)]
pub struct Field<'a, T>(pub &'a T);

impl<T: Debug> Field<'_, T> {
    /// Returns the field itself.
    pub fn as_debug(&self) -> &dyn Debug {
        &self.0
    }
}

/// The fallback for a field whose type does not implement `Debug`.
pub trait WithoutDebug {
    /// Returns a placeholder.
    fn as_debug(&self) -> &dyn Debug {
        &Placeholder
    }
}

impl<T> WithoutDebug for Field<'_, T> {}

/// Printed instead of a value without `Debug`.
struct Placeholder;

impl Debug for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_shown_if_its_type_implements_debug() {
        struct Opaque;
        assert_eq!(format!("{:?}", Field(&7).as_debug()), "7");
        assert_eq!(format!("{:?}", Field(&Opaque).as_debug()), "_");
        assert_eq!(format!("{Redacted:?}"), "<redacted>");
    }
}
