//! The migrations, which change the tables of the schema.

/// One change of the tables: the file `migrations/V<version>__<name>.sql`.
#[derive(Debug)]
pub(super) struct Migration {
    /// The schema's version after it.
    pub(super) version: i32,
    pub(super) name: &'static str,
    /// The oldest version whose library works with the schema of this version.
    pub(super) compatible_from: i32,
    pub(super) sql: &'static str,
}

/// Embeds migrations.
macro_rules! migrations {
    ($($version:literal $name:literal compatible from $compatible_from:literal),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            compatible_from: $compatible_from,
            sql: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/migrations/V", $version, "__", $name, ".sql"
            )),
        }),+]
    };
}

/// The migrations in the order of their versions. Every release that changes tables or functions has one.
pub(super) const MIGRATIONS: &[Migration] = migrations![1 "tables" compatible from 1];

/// Returns the newest migration. Its version is the schema's version that this library installs.
pub(super) const fn newest() -> &'static Migration {
    MIGRATIONS.last().expect("there is a first migration")
}

#[cfg(test)]
pub(super) mod tests {
    use super::MIGRATIONS;
    use std::fs;
    use std::path::Path;

    /// Returns the sorted text of the `.sql` files in a directory.
    pub(in crate::store::migrate) fn files(directory: &str) -> Vec<String> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        files.sort();
        files
    }

    #[test]
    fn every_migration_is_embedded() {
        let mut migrations: Vec<_> = MIGRATIONS.iter().map(|migration| migration.sql).collect();
        migrations.sort_unstable();
        assert_eq!(files("migrations"), migrations);
    }

    #[test]
    fn versions_count_from_one_and_compatibility_only_rises() {
        for (migration, version) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, version);
            assert!((1..=version).contains(&migration.compatible_from), "version {version}");
        }
        assert!(MIGRATIONS.is_sorted_by_key(|migration| migration.compatible_from));
    }
}
