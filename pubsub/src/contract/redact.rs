//! `Debug` output of a payload without the values of its redacted fields.

use std::fmt::{self, Debug};

/// Stands where the value of a redacted field would.
#[derive(Clone, Copy)]
pub struct Redacted;

impl Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A field beside a redacted one: shown if its type can be, which only the place that knows the type can tell.
#[derive(Debug)]
pub struct Beside<'a, T>(pub &'a T);

impl<T: Debug> Beside<'_, T> {
    /// What to show.
    pub fn shown(&self) -> &dyn Debug {
        &self.0
    }
}

/// Asked if the method of the same name is not there.
pub trait Hidden {
    /// What to show instead.
    fn shown(&self) -> &dyn Debug {
        &Nameless
    }
}

impl<T> Hidden for Beside<'_, T> {}

/// A value that cannot be shown.
struct Nameless;

impl Debug for Nameless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_a_redacted_field_is_shown_if_it_can_be() {
        struct Opaque;
        assert_eq!(format!("{:?}", Beside(&7).shown()), "7");
        assert_eq!(format!("{:?}", Beside(&Opaque).shown()), "_");
        assert_eq!(format!("{Redacted:?}"), "<redacted>");
    }
}
