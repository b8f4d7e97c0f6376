//! Decides which servers and databases are supported.

/// The oldest and the newest major version of PostgreSQL that all tests pass on.
pub(crate) const OLDEST: u32 = 14;
pub(crate) const NEWEST: u32 = 18;

/// The only encoding whose texts can hold every payload, key and error.
pub(crate) const ENCODING: &str = "UTF8";

/// The support for a version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// All tests pass on it.
    Tested,
    /// It lacks functions that the schema needs.
    TooOld,
    /// It is newer than the versions that were tested, or cannot be read.
    Untested,
}

/// Judges a version as servers report it, such as `14.23`, `17.2 (Debian 17.2-1)` or `19devel`.
pub(crate) fn of_version(version: &str) -> Support {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    match version[..end].parse::<u32>() {
        Ok(major) if major < OLDEST => Support::TooOld,
        Ok(major) if major <= NEWEST => Support::Tested,
        _ => Support::Untested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_14_to_18_are_supported() {
        for version in ["14.0", "14.23", "15.18 (Debian 15.18-0+deb12u1)", "16rc1", "17", "18.4"] {
            assert_eq!(of_version(version), Support::Tested, "{version}");
        }
    }

    #[test]
    fn a_version_before_14_is_too_old() {
        for version in ["13.23", "13.0 (Ubuntu 13.0-1)", "12.22", "9.6.24", "8.4"] {
            assert_eq!(of_version(version), Support::TooOld, "{version}");
        }
    }

    #[test]
    fn a_version_after_18_or_without_a_number_is_untested() {
        for version in ["19devel", "19beta1", "20.1", "", "devel", "99999999999999999999"] {
            assert_eq!(of_version(version), Support::Untested, "{version}");
        }
    }
}
