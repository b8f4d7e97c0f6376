//! Servers and databases that differ from the usual one: in version, in encoding, in what they allow.

use pubsub::testing::{Database, Mode, Options, Server};
use pubsub::{Delivery, Error, PubSub, migrate};
use pubsub_tests::{
    Sms, SqlSubscriber, TestDatabase, break_function, connect, migrated, probe, publish_each, receive_ids,
    sending,
};
use std::time::Duration;
use tokio_postgres::Client;

/// The environment variable with the directories of the binaries of PostgreSQL servers that are too old, separated by `:`.
const OLDER: &str = "PUBSUB_POSTGRES_OLDER_BINS";

#[actix::test]
#[ignore = "needs servers that are too old"]
async fn a_server_before_14_is_refused_before_anything_is_written() {
    let older = std::env::var_os(OLDER).unwrap_or_else(|| panic!("NOT RUN: {OLDER} is not set"));
    for bin_dir in std::env::split_paths(&older) {
        let options = Options { bin_dir: Some(bin_dir), ..Options::default() };
        let server = tokio::task::spawn_blocking(|| Server::start_with(options)).await.unwrap().unwrap();
        let url = server.url("postgres");
        let started = PubSub::builder(&url).start().await.map(drop);
        for refused in [migrate(&url).await, started] {
            let refused = refused.unwrap_err();
            let sentence = format!(
                "the server is PostgreSQL {}, but the oldest supported version is PostgreSQL 14",
                server.version()
            );
            assert_eq!((refused.code(), refused.to_string()), ("server_too_old", sentence));
        }
        assert_has_no_schema(&connect(&url).await).await;
    }
}

#[actix::test]
async fn an_encoding_other_than_utf8_is_refused_before_a_write() {
    let database = Database::empty().await.unwrap();
    let admin = connect(database.url()).await;
    for encoding in ["WIN1252", "LATIN1", "SQL_ASCII", "EUC_JP"] {
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        let create = format!("create database {name} template template0 encoding '{encoding}' locale 'C'");
        admin.batch_execute(&create).await.unwrap();
        let url = database.url().replace(database.name(), &name);
        let started = PubSub::builder(&url).start().await.map(drop);
        for refused in [migrate(&url).await, started] {
            let refused = refused.unwrap_err();
            assert!(
                matches!(&refused, Error::UnsupportedEncoding { found } if found == encoding),
                "{refused:?}"
            );
        }
        assert_has_no_schema(&connect(&url).await).await;
        admin.batch_execute(&format!("drop database {name} with (force)")).await.unwrap();
    }
}

async fn assert_has_no_schema(client: &Client) {
    let exists = "select to_regnamespace('pubsub') is not null";
    assert!(!client.query_one(exists, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test]
async fn a_snapshot_lists_its_own_transaction_beside_later_ones() {
    let db = TestDatabase::new().await;
    let mut client = connect(db.url()).await;
    let transaction = client.transaction().await.unwrap();
    let own = "select pg_current_xact_id()::text";
    let own: String = transaction.query_one(own, &[]).await.unwrap().get(0);
    let later: String = db.client.query_one("select pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let visible =
        "select pg_visible_in_snapshot($1::text::xid8, s), pg_visible_in_snapshot($2::text::xid8, s)
                     from pubsub.own_snapshot() s";
    let row = transaction.query_one(visible, &[&own, &later]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (false, true));
}

/// A service that does not tell where it writes its log, or which cluster it is, raises an error of its own choice.
#[actix::test]
async fn a_server_that_hides_its_identity_is_like_any_other() {
    for (hidden, code) in [("pg_current_wal_insert_lsn()", "55000"), ("pg_control_system()", "XX000")] {
        let mut server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
        let client = migrated(&server).await;
        let refuse = format!(
            "create function public.refuse() returns void language plpgsql as
             $$ begin raise exception using errcode = '{code}', message = 'not here'; end $$"
        );
        client.batch_execute(&refuse).await.unwrap();
        let refusing = match hidden {
            "pg_control_system()" => "(select 1::bigint as system_identifier from public.refuse())",
            _ => "(select '0/1'::pg_lsn from public.refuse())",
        };
        break_function(&client, "pubsub.cluster()", &[(hidden, refusing)]).await.unwrap();
        // As in a new installation, and as in one that was made when the server still told.
        for install in ["select pubsub.write_identity(0)", "select 1"] {
            client.batch_execute(install).await.unwrap();
            let url = server.url("postgres");
            let (pubsub, mut received) = receive_ids(&url).await.unwrap();
            let published = publish_each(&connect(&url).await, 3).await;
            assert_eq!(received.take_sorted(3).await, published, "{hidden}");
            assert!(pubsub.drain(Duration::from_secs(10)).await);
        }
        server.restart(Mode::Immediate).unwrap();
        let client = connect(&server.url("postgres")).await;
        let incarnation = "select incarnation from pubsub.recognize()";
        let after_the_crash: i64 = client.query_one(incarnation, &[]).await.unwrap().get(0);
        assert!(after_the_crash > 0, "{hidden}: the crash was noticed");
        let again: i64 = client.query_one(incarnation, &[]).await.unwrap().get(0);
        assert_eq!(again, after_the_crash, "{hidden}: and noted");
    }
}

#[actix::test]
async fn a_publication_for_all_tables_hinders_nothing() {
    let settings = vec![("wal_level".into(), "logical".into())];
    let options = Options { settings, ..Options::default() };
    let mut server = tokio::task::spawn_blocking(|| Server::start_with(options)).await.unwrap().unwrap();
    let client = migrated(&server).await;
    client.batch_execute("create publication everything for all tables").await.unwrap();
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 2).await;
    assert_eq!(one.claim(10).await.unwrap().len(), 2);
    server.restart(Mode::Immediate).unwrap();

    let client = connect(&server.url("postgres")).await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    let published = publish_each(&client, 1).await;
    assert_eq!(one.claim(10).await.unwrap()[0].id, published[0]);
    client.batch_execute("select pubsub.rebase()").await.unwrap();
    let without_identity = "
        select string_agg(c.relname, ', ')
          from pg_class c
         where c.relnamespace = 'pubsub'::regnamespace
           and c.relkind in ('r', 'p')
           and c.relpersistence = 'p'
           and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)";
    let tables: Option<String> = client.query_one(without_identity, &[]).await.unwrap().get(0);
    assert_eq!(tables, None, "a publication of them would refuse updates");
}

#[tokio::test]
async fn no_text_of_an_index_is_compared_by_locale() {
    let db = TestDatabase::new().await;
    let by_locale = "
        select string_agg(format('%s(%s)', i.indexrelid::regclass, a.attname), ', ')
          from pg_index i
          join pg_class c on c.oid = i.indrelid
          join pg_attribute a on a.attrelid = i.indexrelid
         where c.relnamespace = 'pubsub'::regnamespace
           and a.attcollation not in (0, 'pg_catalog.\"C\"'::regcollation)";
    let columns: Option<String> = db.client.query_one(by_locale, &[]).await.unwrap().get(0);
    assert_eq!(columns, None, "the system's next locale may order them otherwise");
}

#[tokio::test]
async fn a_process_does_not_register_with_an_altered_schema() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_each(&db.client, 3).await;
    assert_eq!(one.claim(10).await.unwrap().len(), 3);
    let beyond_the_end = "select pubsub.seek('sms', 'one', event => 1000000)";
    db.client.batch_execute(beyond_the_end).await.unwrap();
    SqlSubscriber::register(&db.client, "one").await.expect("nothing is altered");
    let alterations = [
        ("alter sequence pubsub.db_events_id_seq cache 10", "caches or skips numbers"),
        ("alter sequence pubsub.leases_token_seq increment 2", "caches or skips numbers"),
        ("alter sequence pubsub.processes_id_seq cycle", "caches or skips numbers"),
        ("select setval('pubsub.db_events_id_seq', 1)", "the ids of events continue at 1, below the cursors"),
        ("alter table pubsub.db_events disable trigger all", "is disabled"),
        ("alter table pubsub.incarnations set logged", "would keep pubsub.incarnations"),
        ("alter table pubsub.cursors set unlogged", "would empty pubsub.cursors"),
    ];
    for (alteration, message) in alterations {
        db.client.batch_execute(alteration).await.unwrap();
        let refused = SqlSubscriber::register(&db.client, "one").await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "55000", "{alteration}");
        assert!(refused.message().contains(message), "{alteration}: {}", refused.message());
        let repair = refused.hint().unwrap().split('"').nth(1).unwrap();
        db.client.batch_execute(repair).await.unwrap();
        SqlSubscriber::register(&db.client, "one").await.expect(repair);
    }
}

/// The text of the error in the mailbox, after a database has refused some texts.
async fn recorded(refused: &str) -> String {
    let db = TestDatabase::new().await;
    let broken = format!(
        "begin
             if dispositions::text ~ '{refused}' then
                 raise exception using errcode = '22P05', message = 'character has no equivalent';
             end if;"
    );
    let settle = "pubsub.settle(bigint, bigint, bigint[], jsonb)";
    break_function(&db.client, settle, &[("\nbegin\n", &format!("\n{broken}\n"))]).await.unwrap();
    let (sender, mut received) = probe();
    let accept = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let handler = move |sms: Delivery<Sms>| {
        let fails = sms.msg == "fails";
        let accepted = accept(sms);
        async move { if fails { Err("gave up \u{1f600}".into()) } else { accepted.await } }
    };
    let pubsub = db.pubsub().subscribe_fn("one", handler).start().await.unwrap();
    pubsub::publish_all(&db.client, &["ok", "fails", "ok"].map(Sms::new)).await.unwrap();
    received.take(3).await;
    db.until_count("select count(*) from pubsub.leases", 0).await;
    let error: String =
        db.client.query_one("select last_error from pubsub.mailbox", &[]).await.unwrap().get(0);
    drop(pubsub);
    error
}

#[actix::test]
async fn a_failure_is_recorded_though_its_text_is_refused() {
    assert_eq!(recorded("[^ -~]").await, r"gave up \u{1f600}");
    assert_eq!(recorded("gave up").await, "(the database refused the text of this error)");
}
