//! The sessions of this library have settings of its own, whatever those of their role.

use pubsub::testing::Database;
use pubsub::{Delivery, PubSub, migrate};
use pubsub_tests::{OwnedDatabase, Sms, connect, probe, sending, until};
use std::time::Duration;
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
