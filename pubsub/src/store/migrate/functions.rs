//! The functions and views of the schema: their source, and how it is installed.

use crate::error::Error;
use tokio_postgres::Client;

/// Embeds a file of `migrations/functions`.
macro_rules! source {
    ($($topic:literal),+ $(,)?) => {
        &[$(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/functions/", $topic, ".sql"))),+]
    };
}

/// The files in the order in which they are installed. Views, and functions with a body in SQL, come after the functions
/// that they call; a body in PL/pgSQL may call any.
const SOURCE: &[&str] = source![
    "locks",
    "channels",
    "lanes",
    "window",
    "cursors",
    "publish",
    "claim",
    "settle",
    "dead_letters",
    "processes",
    "bell",
    "partitions",
    "xmin_holders",
    "retention",
    "removal",
    "seek",
    "restore",
    "parking",
    "mailbox",
    "dedupe",
    "versions",
    "schemas",
    "validation",
    "observe",
    "roles",
];

/// Installs the functions and views in one transaction, if they differ from those that are installed.
pub(super) async fn install(client: &mut Client) -> Result<(), Error> {
    let database = |source| Error::Database { doing: "install the functions of the schema", source };
    let checksum = format!("{:016x}", checksum());
    let installed = "select exists (select from pubsub.function_source f where f.checksum = $1)";
    if client.query_one(installed, &[&checksum]).await.map_err(database)?.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(database)?;
    for file in SOURCE {
        transaction.batch_execute(file).await.map_err(database)?;
    }
    transaction.batch_execute("delete from pubsub.function_source").await.map_err(database)?;
    let record = "insert into pubsub.function_source (checksum) values ($1)";
    transaction.execute(record, &[&checksum]).await.map_err(database)?;
    transaction.commit().await.map_err(database)
}

/// A number that changes with any of the files. FNV-1a, because it must be the same in every build.
pub(super) fn checksum() -> u64 {
    let bytes = SOURCE.iter().flat_map(|file| file.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::SOURCE;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_file_is_installed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/functions");
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let mut source = SOURCE.to_vec();
        files.sort();
        source.sort_unstable();
        assert_eq!(files, source);
    }
}
