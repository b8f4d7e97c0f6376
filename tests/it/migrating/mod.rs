//! `pubsub::migrate` can run in many processes at once, is all or nothing, and updates the functions with their source.

mod compatible;
mod killed;

use pubsub::testing::Database;
use pubsub::{Error, migrate};
use pubsub_tests::{ChildProcess, OwnedDatabase, TestDatabase, connect, in_child_process};
use tokio_postgres::Client;

/// Migrates the database.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_migrates() {
    let Some((url, report)) = in_child_process() else { return };
    report(&format!("{:?}", migrate(&url).await));
}

#[actix::test]
async fn ten_processes_may_migrate_at_once() {
    let database = Database::empty().await.unwrap();
    let children: Vec<_> =
        (0..10).map(|_| ChildProcess::start("migrating::child_migrates", database.url())).collect();
    for child in &children {
        assert_eq!(child.next().await, "Ok(())");
    }
    let client = connect(database.url()).await;
    let count = "select count(*), count(distinct version) from pubsub.schema_history";
    let row = client.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "each migration ran once");
}

#[actix::test]
async fn migrating_again_changes_nothing() {
    let test = TestDatabase::new().await;
    let installed =
        "select (extract(epoch from max(installed_at)) * 1000000)::bigint from pubsub.schema_history";
    let before = test.count(installed).await;
    migrate(test.url()).await.unwrap();
    migrate(test.url()).await.unwrap();
    assert_eq!(test.count(installed).await, before);
}

#[actix::test]
async fn functions_that_differ_from_their_source_are_replaced() {
    let owned = OwnedDatabase::new().await;
    let before = catalog(&owned.admin).await;
    let subscriber = owned.connect(&owned.role_for("subscriber", &["subscriber"]).await).await;
    let granted = catalog(&owned.admin).await;
    assert_ne!(granted, before);
    owned.owner.batch_execute(&format!("{REPLACE}; {OUTDATE}")).await.unwrap();
    assert_ne!(catalog(&owned.admin).await, granted);

    migrate(&owned.owner_url().await).await.unwrap();
    assert_eq!(catalog(&owned.admin).await, granted, "everything is as before, the rights included");
    let may_settle = "select has_function_privilege('pubsub.settle'::regproc, 'execute')";
    assert!(subscriber.query_one(may_settle, &[]).await.unwrap().get::<_, bool>(0));
}

#[actix::test]
async fn functions_that_left_the_source_are_dropped_later() {
    let test = TestDatabase::new().await;
    let before = catalog(&test.client).await;
    let obsolete = "
        create view pubsub.old_view as select 1 as one;
        create function pubsub.old_inner() returns integer language sql begin atomic select one from pubsub.old_view; end;
        create function pubsub.old_outer() returns integer language sql return pubsub.old_inner()";
    test.client.batch_execute(obsolete).await.unwrap();
    let with_obsolete = catalog(&test.client).await;
    migrate(test.url()).await.unwrap();
    assert_eq!(catalog(&test.client).await, with_obsolete, "calls that are running may need them");

    let earlier = "update pubsub.schema_history set installed_at = installed_at - interval '1 hour'";
    test.client.batch_execute(earlier).await.unwrap();
    migrate(test.url()).await.unwrap();
    assert_eq!(catalog(&test.client).await, before);
}

#[actix::test]
async fn a_function_whose_arguments_change_needs_a_new_name() {
    let test = TestDatabase::new().await;
    let old = format!(
        "create function pubsub.settle(old text) returns bigint language sql
         set search_path = pg_catalog, pg_temp return 0;
         {OUTDATE}"
    );
    test.client.batch_execute(&old).await.unwrap();
    let before = catalog(&test.client).await;
    let refused = migrate(test.url()).await.unwrap_err();
    let said = format!("{refused:?}");
    assert!(said.contains("the arguments of pubsub.settle have changed"), "{said}");
    assert_eq!(catalog(&test.client).await, before);
}

#[actix::test]
async fn a_schema_installed_from_other_files_is_refused() {
    let test = TestDatabase::new().await;
    test.client.batch_execute("update pubsub.schema_history set checksum = 'others'").await.unwrap();
    let refused = migrate(test.url()).await.unwrap_err();
    assert!(matches!(refused, Error::Migration(_)), "{refused:?}");
}

/// Records that the functions are from another source.
const OUTDATE: &str = "update pubsub.schema_history set functions = 'others'";

/// Replaces a function that subscribers call with one that does not act for the owner.
const REPLACE: &str = r"
    do $do$
    begin
        execute replace(
            replace(pg_get_functiondef('pubsub.settle'::regproc), ' SECURITY DEFINER', ''),
            E'AS $function$\n', E'AS $function$\n-- From another source.\n'
        );
    end
    $do$";

/// Describes each function, view, table, constraint, index and trigger of the schema, with its rights.
async fn catalog(client: &Client) -> Vec<String> {
    let objects = "
        select coalesce(p.proacl::text, '') || pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'pubsub'::regnamespace
        union all
        select c.relname || coalesce(c.relacl::text, '') || coalesce(pg_get_viewdef(c.oid), '') || coalesce(a.columns, '')
          from pg_class c
          left join lateral (
              select string_agg(format('%s %s %s', a.attname, a.atttypid::regtype, a.attacl), ', ' order by a.attnum) as columns
                from pg_attribute a
               where a.attrelid = c.oid and a.attnum > 0
          ) a on true
         where c.relnamespace = 'pubsub'::regnamespace
        union all
        select c.conname || pg_get_constraintdef(c.oid) from pg_constraint c where c.connamespace = 'pubsub'::regnamespace
        union all
        select pg_get_indexdef(i.indexrelid)
          from pg_index i
          join pg_class c on c.oid = i.indrelid and c.relnamespace = 'pubsub'::regnamespace
        union all
        select pg_get_triggerdef(t.oid)
          from pg_trigger t
          join pg_class c on c.oid = t.tgrelid and c.relnamespace = 'pubsub'::regnamespace
         where not t.tgisinternal";
    let rows = client.query(objects, &[]).await.unwrap();
    let mut objects: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    objects.sort();
    objects
}
