//! A role has the rights that were recorded for it, whatever a restore or default privileges have opened or lost.

use pubsub::testing::{Database, Server};
use pubsub_tests::{connect, dump, has_programs, migrated, restore_with};
use tokio_postgres::Client;

/// The functions that a role may call, and what else it may do in the schema.
const RIGHTS: &str = "
    select coalesce(string_agg(r.object, ' ' order by r.object), '')
      from (
          select p.proname::text as object
            from pg_proc p
           where p.pronamespace = 'pubsub'::regnamespace and has_function_privilege($1, p.oid, 'execute')
          union all
          select c.relname
            from pg_class c
           where c.relnamespace = 'pubsub'::regnamespace
             and case c.relkind
                     when 'S' then has_sequence_privilege($1, c.oid, 'usage, select, update')
                     when 'i' then false
                     when 'I' then false
                     else has_table_privilege($1, c.oid, 'select, insert, update, delete, truncate')
                         or has_any_column_privilege($1, c.oid, 'select, insert, update')
                 end
          union all
          select 'schema' where has_schema_privilege($1, 'pubsub', 'usage, create')
      ) r";

const OF_A_PUBLISHER: &str = "db_events list_schemas publish publish_all_once publish_once schema";

async fn rights(client: &Client, role: &str) -> String {
    client.query_one(RIGHTS, &[&role]).await.unwrap().get(0)
}

#[actix::test]
async fn a_restore_without_rights_opens_nothing_to_a_grantee() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, fresh) = (Server::start().unwrap(), Server::start().unwrap());
    let client = migrated(&old).await;
    client.batch_execute("create role web; create role grafana").await.unwrap();
    client.batch_execute("select pubsub.grant_rights('grafana', 'observer')").await.unwrap();
    let of_an_observer = rights(&client, "grafana").await;
    let dump = dump(&old, &fresh);
    connect(&fresh.url("postgres"))
        .await
        .batch_execute("create role web; create role grafana")
        .await
        .unwrap();
    restore_with(&dump, &fresh, "postgres", &["--no-acl", "--no-owner"]);

    let client = connect(&fresh.url("postgres")).await;
    assert!(rights(&client, "web").await.contains("settle"), "functions are open to all");
    client.batch_execute("select pubsub.grant_rights('web', 'publisher')").await.unwrap();
    assert_eq!(rights(&client, "web").await, OF_A_PUBLISHER);
    assert_eq!(rights(&client, "grafana").await, of_an_observer, "what was recorded is granted again");
    client.batch_execute("create role nobody").await.unwrap();
    assert_eq!(rights(&client, "nobody").await, "");
}

#[actix::test]
async fn default_privileges_open_nothing_of_the_schema() {
    let server = tokio::task::spawn_blocking(Server::shared).await.unwrap().unwrap();
    let database = Database::empty_on(&server.url("postgres")).await.unwrap();
    let client = connect(database.url()).await;
    let role = format!("app_{}", database.name());
    for objects in ["tables", "sequences", "functions", "schemas"] {
        let rights = if objects == "functions" { "execute" } else { "all" };
        let everything = format!("alter default privileges grant {rights} on {objects} to {role}");
        if objects == "tables" {
            client.batch_execute(&format!("create role {role}")).await.unwrap();
        }
        client.batch_execute(&everything).await.unwrap();
    }
    pubsub::migrate(database.url()).await.unwrap();
    let more = "select pubsub.ensure_partitions(40000000000)";
    client.batch_execute(more).await.unwrap();
    assert_eq!(rights(&client, &role).await, "");
    // Another release replaces the functions.
    let outdate = "update pubsub.schema_history set functions = ''";
    client.batch_execute(outdate).await.unwrap();
    pubsub::migrate(database.url()).await.unwrap();
    assert_eq!(rights(&client, &role).await, "");
    client.batch_execute(&format!("select pubsub.grant_rights('{role}', 'publisher')")).await.unwrap();
    assert_eq!(rights(&client, &role).await, OF_A_PUBLISHER);
    client.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}
