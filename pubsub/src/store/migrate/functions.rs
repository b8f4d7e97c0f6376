//! The source of the schema's functions and views.

/// Embeds files of `migrations/functions`.
macro_rules! source {
    ($($topic:literal),+ $(,)?) => {
        &[$(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/functions/", $topic, ".sql"))),+]
    };
}

/// The files in the order in which they are installed. Views, and functions with a body in SQL, come after the functions
/// that they call. A body in PL/pgSQL may call any function.
pub(super) const SOURCE: &[&str] = source![
    "channels",
    "unsubscribe",
    "lanes",
    "window",
    "cursors",
    "publish",
    "claim",
    "processes",
    "bell",
    "partitions",
    "xmin_holders",
    "retention",
    "removal",
    "seek",
    "settle",
    "settle_in",
    "dead_letters",
    "restore",
    "parking",
    "mailbox",
    "dedupe",
    "versions",
    "schemas",
    "validation",
    "facade",
    "observe",
    "roles",
];

/// Returns a number that changes with any of the files.
pub(super) fn fingerprint() -> String {
    checksum(SOURCE.iter().copied())
}

/// Returns a number that changes with the text. FNV-1a, because every build must return the same number.
pub(super) fn checksum<'a>(text: impl IntoIterator<Item = &'a str>) -> String {
    let bytes = text.into_iter().flat_map(str::bytes);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::SOURCE;
    use crate::store::migrate::tables::tests::files;
    use std::collections::HashSet;

    /// Returns the names of all functions and views.
    fn names() -> Vec<&'static str> {
        let kinds = ["create or replace function pubsub.", "create or replace view pubsub."];
        let name = |line: &'static str| {
            let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
        };
        SOURCE.iter().flat_map(|file| file.lines()).filter_map(name).collect()
    }

    #[test]
    fn every_file_of_functions_is_embedded() {
        let mut source = SOURCE.to_vec();
        source.sort_unstable();
        assert_eq!(files("migrations/functions"), source);
    }

    #[test]
    fn no_two_functions_share_a_name() {
        let names = names();
        assert!(names.len() > 80, "found only {}", names.len());
        let mut seen = HashSet::new();
        let repeated: Vec<_> = names.iter().filter(|name| !seen.insert(**name)).collect();
        assert!(repeated.is_empty(), "{repeated:?}");
    }
}
