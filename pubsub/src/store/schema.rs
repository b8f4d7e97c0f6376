//! The declared schemas of payloads.

use super::Store;
use crate::error::Error;
use serde_json::Value;

const DECLARE: &str = "select pubsub.declare_schema($1, $2, $3, $4)";

impl Store {
    /// Declares the schema of a channel's version, and whether payloads are checked against it.
    pub(crate) async fn declare_schema(
        &self,
        channel: &str,
        version: u32,
        schema: Option<&Value>,
        strict: bool,
    ) -> Result<(), Error> {
        let version = i32::try_from(version).unwrap_or(i32::MAX);
        self.query("declare a schema", DECLARE, &[&channel, &version, &schema, &strict]).await?;
        Ok(())
    }
}

#[cfg(feature = "schema")]
mod export {
    use super::super::Target;
    use crate::contract::schema::{self, ChannelSchema, SchemaFormat};
    use crate::error::Error;
    use tokio_postgres::Row;

    const LIST: &str = "select channel, version, description, schema from pubsub.list_schemas()";

    /// Writes the schemas that processes have declared in a database: of every version of every channel whose payload has
    /// one.
    ///
    /// # Errors
    /// A connection error, or the database's own.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn export(
        target: impl TryInto<Target, Error: Into<Error>>,
        format: SchemaFormat,
    ) -> Result<String, Error> {
        let target = target.try_into().map_err(Into::into)?;
        let rows = target.alone("list the schemas", async |client| client.query(LIST, &[]).await).await?;
        let schemas: Vec<ChannelSchema> = rows.iter().map(channel_schema).collect();
        Ok(schema::write(&schemas, format))
    }

    fn channel_schema(row: &Row) -> ChannelSchema {
        ChannelSchema {
            channel: row.get(0),
            version: row.get::<_, i32>(1).unsigned_abs(),
            description: row.get(2),
            schema: row.get(3),
        }
    }
}

#[cfg(feature = "schema")]
pub use export::export;
