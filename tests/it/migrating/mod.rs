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
async fn migrate_leaves_the_objects_of_others_alone() {
    let owned = OwnedDatabase::new().await;
    owned
        .owner
        .batch_execute("create schema shop; grant usage on schema pubsub, shop to public")
        .await
        .unwrap();
    let of_the_owner = "
        create view pubsub.old_view as select 1 as one;
        create function pubsub.old_number() returns integer language sql begin atomic select one from pubsub.old_view; end;
        create view shop.numbers as select pubsub.old_number() as number;
        create table shop.orders (number integer default pubsub.old_number());
        create function pubsub.stamp() returns trigger language plpgsql as 'begin return new; end';
        create trigger stamp before insert on shop.orders for each row execute function pubsub.stamp();
        create function pubsub.publish(channel text, payload text) returns text language sql return channel;
        create function pubsub.settle(pinned text) returns text language sql
        set search_path = pg_catalog, pg_temp begin atomic select pinned; end";
    owned.owner.batch_execute(of_the_owner).await.unwrap();
    // As an extension that a superuser installs into the schema.
    let of_the_administrator = "
        create table pubsub.settings ();
        create function pubsub.similarity(a text, b text) returns real language sql return 1;
        create function pubsub.similarity(a integer, b integer) returns real language sql return 1";
    owned.admin.batch_execute(of_the_administrator).await.unwrap();
    let before = catalog(&owned.admin).await;
    let history = "update pubsub.schema_history set installed_at = installed_at - interval '1 year'";
    for outdated in [history, OUTDATE] {
        owned.owner.batch_execute(outdated).await.unwrap();
        migrate(&owned.owner_url().await).await.unwrap();
        assert_eq!(catalog(&owned.admin).await, before, "after {outdated}");
    }
    let subscriber = owned.role_for("subscriber", &["subscriber", "publisher"]).await;
    let granted = "select count(*)
                     from pg_proc p
                    cross join lateral aclexplode(p.proacl) g
                    where p.oid in ('pubsub.publish(text, text)'::regprocedure, 'pubsub.settle(text)'::regprocedure)
                      and g.grantee = $1::text::regrole";
    assert_eq!(owned.admin.query_one(granted, &[&subscriber]).await.unwrap().get::<_, i64>(0), 0);
    let used =
        "insert into shop.orders default values returning number + (select n.number from shop.numbers n)";
    assert_eq!(owned.owner.query_one(used, &[]).await.unwrap().get::<_, i32>(0), 2);
}

#[actix::test]
async fn a_function_whose_arguments_change_needs_a_new_name() {
    let test = TestDatabase::new().await;
    let old = format!(
        "create function pubsub.settle(old text) returns bigint language sql
         set search_path = pg_catalog, pg_temp return 0;
         update pubsub.audiences set object = 'pubsub.settle(text)' where object like 'pubsub.settle(%';
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
