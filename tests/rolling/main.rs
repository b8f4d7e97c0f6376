//! A rolling upgrade: two real builds of the library, this release and an artificial next one, share subscriptions while the
//! schema is upgraded under load.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion, also in what the tests share")]

mod next_release;
mod worker;

use next_release::WORKER_OF_NEXT_RELEASE;
use pubsub::{PublishOptions, publish_with};
use pubsub_tests::{ChildProcess, MigrationPause, TestDatabase, connect, in_child_process, until};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use worker::Rolled;

/// A worker of this release.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_works() {
    let Some((url, report)) = in_child_process() else { return };
    worker::work("this", &url, report).await;
}

fn start_this_release(url: &str) -> ChildProcess {
    ChildProcess::start("child_works", url)
}

fn start_next_release(url: &str) -> ChildProcess {
    ChildProcess::run(Command::new(&*WORKER_OF_NEXT_RELEASE), url)
}

/// The tables of the test: the numbers that were published, and the deliveries that were handled.
const BOOKS: &str = "
    create table published (number bigint primary key);
    create table handled (at bigint generated always as identity, subscription text, number bigint, worker text);
    create index on handled (subscription, number)";

/// Publishes until `over` is set, at most a few hundred events ahead of the workers.
async fn publish_meanwhile(url: String, over: Arc<AtomicBool>) {
    let mut client = connect(&url).await;
    let mut number = 0_i64;
    while !over.load(Ordering::Relaxed) {
        until(&client, "select (select count(*) from published) * 2 < (select count(*) from handled) + 600")
            .await;
        let transaction = client.transaction().await.unwrap();
        for _ in 0..20 {
            number += 1;
            let key = PublishOptions::new().key((number % 7).to_string());
            publish_with(&transaction, &Rolled { number }, &key).await.unwrap();
            transaction.execute("insert into published values ($1)", &[&number]).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
}

/// Waits until each of `workers` processes has handled many of the events published from now on.
async fn until_all_work(db: &TestDatabase, workers: i64) {
    let newest = db.count("select coalesce(max(number), 0) from published").await;
    let busy = format!(
        "select count(*) = {workers}
           from (select from handled h where h.number > {newest} group by h.worker having count(*) >= 30) w"
    );
    until(&db.client, &busy).await;
}

async fn assert_started(child: &ChildProcess) {
    assert_eq!(child.next().await, "migrated");
    assert_eq!(child.next().await, "started");
}

#[actix::test]
async fn a_rolling_upgrade_loses_nothing_and_restarts_nobody() {
    // Built first, so that no deadline includes the compiler.
    LazyLock::force(&WORKER_OF_NEXT_RELEASE);
    let db = TestDatabase::new().await;
    db.client.batch_execute(BOOKS).await.unwrap();
    let old = [start_this_release(db.url()), start_this_release(db.url())];
    for child in &old {
        assert_started(child).await;
    }
    let processes =
        "select string_agg(format('%s %s', p.id, p.os_pid), ',' order by p.id) from pubsub.processes p";
    let processes_of_old: String = db.client.query_one(processes, &[]).await.unwrap().get(0);
    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn(publish_meanwhile(db.url().to_owned(), over.clone()));
    until_all_work(&db, 2).await;

    // The first process of the next release is killed between the change of the tables and that of the functions.
    let pause = MigrationPause::at(&db.client, "tg_tag = 'CREATE FUNCTION'").await;
    let killed = start_next_release(db.url());
    pause.reached().await;
    killed.signal("KILL");
    pause.end().await;
    assert_eq!(db.count(VERSION).await, 1, "rolled back");
    until_all_work(&db, 2).await;

    // The second process succeeds, and works beside the old ones.
    let new = start_next_release(db.url());
    assert_started(&new).await;
    assert_eq!(db.count(VERSION).await, 2);
    until_all_work(&db, 3).await;
    assert_eq!(functions(&db, "newest_id").await, 1);
    assert_eq!(functions(&db, "log_sequence").await, 1, "calls that were running may need it");

    // A process of the old release still starts.
    let late = start_this_release(db.url());
    assert_started(&late).await;
    assert_eq!(db.count(VERSION).await, 2);
    until_all_work(&db, 4).await;

    over.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert_all_handled_in_order(&db).await;
    let processes_after: String = db.client.query_one(processes, &[]).await.unwrap().get(0);
    assert!(processes_after.starts_with(&processes_of_old), "{processes_of_old} became {processes_after}");
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

const VERSION: &str = "select max(version)::bigint from pubsub.schema_history";

async fn functions(db: &TestDatabase, name: &str) -> i64 {
    let functions = "select count(*) from pg_proc where pronamespace = 'pubsub'::regnamespace and proname";
    db.count(&format!("{functions} = '{name}'")).await
}

#[actix::test]
async fn a_migration_yields_to_the_transactions_in_its_way() {
    LazyLock::force(&WORKER_OF_NEXT_RELEASE);
    let db = TestDatabase::new().await;
    db.client.batch_execute(BOOKS).await.unwrap();
    let old = start_this_release(db.url());
    assert_started(&old).await;
    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn(publish_meanwhile(db.url().to_owned(), over.clone()));
    until_all_work(&db, 1).await;

    let mut other = connect(db.url()).await;
    let open = other.transaction().await.unwrap();
    publish_with(&open, &Rolled { number: -1 }, &PublishOptions::new()).await.unwrap();
    let counter = MigrationPause::at(&db.client, "false").await;
    let new = start_next_release(db.url());
    // Each try stops at its first command, which waits for the open transaction.
    while counter.commands().await < 3 {
        until_all_work(&db, 1).await;
    }
    assert_eq!(db.count(VERSION).await, 1);
    open.execute("insert into published values (-1)", &[]).await.unwrap();
    open.commit().await.unwrap();
    assert_started(&new).await;
    until_all_work(&db, 2).await;
    over.store(true, Ordering::Relaxed);
    publishing.await.unwrap();
    assert_all_handled_in_order(&db).await;
}

async fn assert_all_handled_in_order(db: &TestDatabase) {
    let missing = "select count(*)
                     from published p
                    cross join unnest('{unordered, ordered}'::text[]) s (subscription)
                    where not exists (select from handled h where h.subscription = s.subscription and h.number = p.number)";
    db.until_count(missing, 0).await;
    db.until_settled().await;
    let overtaken = "select count(*)
                       from (
                           select h.number < max(h.number) over (partition by h.number % 7 order by h.at) as is_late
                             from (select number, min(at) as at from handled where subscription = 'ordered' group by number) h
                       ) o
                      where o.is_late";
    assert_eq!(db.count(overtaken).await, 0, "events of one key are handled in their order");
    let again = "select count(*) - count(distinct (subscription, number)) from handled";
    assert_eq!(db.count(again).await, 0, "handled again");
}
