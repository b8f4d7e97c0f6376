//! The sessions of this library have settings of its own, whatever those of their role.

use pubsub::testing::{Database, Server};
use pubsub::{Delivery, PubSub, Target, migrate};
use pubsub_tests::{OwnedDatabase, Proxy, Sms, connect, probe, sending, until};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Gives a role timeouts that may be right for its own queries, and that none of ours would survive. PostgreSQL knows the last
/// of them since version 17.
async fn give_short_timeouts(admin: &Client, role: &str) {
    let settings = [
        ("statement_timeout", "50ms"),
        ("lock_timeout", "50ms"),
        ("idle_session_timeout", "1s"),
        ("transaction_timeout", "50ms"),
    ];
    for (setting, value) in settings {
        let known = "select current_setting($1, true) is not null";
        if admin.query_one(known, &[&setting]).await.unwrap().get(0) {
            admin.batch_execute(&format!("alter role {role} set {setting} = '{value}'")).await.unwrap();
        }
    }
}

#[actix::test]
async fn ten_migrations_succeed_under_a_roles_short_timeouts() {
    let owned = OwnedDatabase::new().await;
    let role = owned.role("migrator").await;
    give_short_timeouts(&owned.admin, &role).await;
    let database = Database::empty_on(&owned.url("postgres")).await.unwrap();
    let admin = connect(database.url()).await;
    admin.batch_execute(&format!("grant create on database {} to {role}", database.name())).await.unwrap();
    let url = database.url().replacen("//postgres@", &format!("//{role}@"), 1);

    admin.batch_execute("select pg_advisory_lock(x'707562737562'::bigint)").await.unwrap();
    let migrations: Vec<_> =
        (0..10).map(|_| url.clone()).map(|url| tokio::spawn(async move { migrate(&url).await })).collect();
    let all_have_waited = "select count(*) = 10
                             from pg_locks l
                            where l.locktype = 'advisory' and not l.granted
                              and l.database = (select d.oid from pg_database d where d.datname = current_database())
                              and l.waitstart < clock_timestamp() - interval '200 ms'";
    until(&admin, all_have_waited).await;
    admin.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
}

#[actix::test]
async fn a_runtime_works_under_a_roles_short_timeouts() {
    let owned = OwnedDatabase::new().await;
    let role = owned.role_for("worker", &["publisher", "subscriber"]).await;
    give_short_timeouts(&owned.admin, &role).await;
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let pubsub = PubSub::builder(owned.url(&role)).subscribe_fn("one", handler).start().await.unwrap();

    // For longer than any of the role's timeouts, the beats and the claims wait.
    owned.admin.batch_execute("begin; lock table pubsub.processes").await.unwrap();
    pubsub::publish(&owned.owner, &Sms::new("hello")).await.unwrap();
    let both_have_waited = "select count(*) > 1
                              from pg_locks l
                             where l.relation = 'pubsub.processes'::regclass
                               and not l.granted
                               and l.waitstart < clock_timestamp() - interval '200 ms'";
    until(&owned.admin, both_have_waited).await;
    owned.admin.batch_execute("commit").await.unwrap();
    assert_eq!(received.next().await, "hello");
    let one_has_been_idle = "select count(*) > 0
                               from pg_stat_activity a
                              where a.datname = current_database()
                                and a.application_name = 'pubsub'
                                and a.state_change < clock_timestamp() - interval '1.2 s'";
    until(&owned.admin, one_has_been_idle).await;
    assert!(pubsub.drain(Duration::from_secs(10)).await);
}

/// Makes every NOTIFY of a server wait. One of them waits for a replica that nobody runs, and meanwhile it has the lock of the queue.
async fn hold_notifications(admin: &Client, holder: Client) -> JoinHandle<()> {
    admin.batch_execute("alter system set synchronous_standby_names = 'nobody'").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let holding = tokio::spawn(async move {
        holder.batch_execute("set synchronous_commit = on").await.unwrap();
        // Until the server has read its settings, nothing waits.
        loop {
            let notify = "begin; select pg_logical_emit_message(true, 'held', ''); notify held; commit";
            holder.batch_execute(notify).await.unwrap();
        }
    });
    until(admin, "select exists (select from pg_stat_activity where wait_event = 'SyncRep')").await;
    holding
}

/// Lets the notifications of a server go on.
async fn release_notifications(admin: &Client, holding: JoinHandle<()>) {
    holding.abort();
    admin.batch_execute("alter system reset synchronous_standby_names").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
}

/// A start proves that a waiting session hears a notification. Its session ends before there is one.
#[actix::test]
async fn a_session_that_ends_while_it_waits_is_no_pooler() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
    let database = Database::create_on(server.url("postgres")).await.unwrap();
    let admin = connect(database.url()).await;
    let proxy = Proxy::start(database.url()).await;
    let notifies = "select exists (select from pg_stat_activity where query like 'notify pubsub_proof%' and wait_event_type = 'Lock')";
    let listener = "from pg_stat_activity where query like 'listen pubsub_proof%'";
    let gone = format!("select not exists (select {listener})");
    for is_told in [true, false] {
        let holding = hold_notifications(&admin, connect(database.url()).await).await;
        let target = Target::parse(database.url()).unwrap().direct(proxy.url(database.url())).unwrap();
        let starting = actix::spawn(PubSub::builder(&target).start());
        until(&admin, notifies).await;
        if is_told {
            admin.batch_execute(&format!("select pg_terminate_backend(pid) {listener}")).await.unwrap();
        } else {
            proxy.cut();
        }
        until(&admin, &gone).await;
        release_notifications(&admin, holding).await;
        match starting.await.unwrap() {
            // It was tried again.
            Ok(_) => assert!(is_told),
            Err(error) => assert!(!is_told && error.is_retryable(), "{error:?}"),
        }
    }
}
