//! Publishers, subscribers and observers need a grant for their own work, and no other right.

mod privileges;
mod shadowing;

use pubsub::{Delivery, Failure, PubSub, publish, publish_all};
use pubsub_tests::{OwnedDatabase, Sms, count_processes_from_1, probe};
use std::time::Duration;
use tokio_postgres::Client;

/// The SQLSTATE of a missing right.
const REFUSED: &str = "42501";

/// The SQLSTATE of the error with which a statement must fail.
async fn error_of(client: &Client, sql: &str) -> String {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("this must fail: {sql}"),
        Err(error) => error.code().map(|code| code.code().to_owned()).unwrap_or_default(),
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

#[actix::test]
async fn subscribers_and_publishers_need_no_right_on_a_table() {
    let owned = OwnedDatabase::new().await;
    let subscriber = owned.role_for("subscriber", &["subscriber"]).await;
    let publisher = owned.connect(&owned.role_for("publisher", &["publisher"]).await).await;

    let (sender, mut received) = probe();
    let handler = move |sms: Delivery<Sms>| {
        sender.send((sms.msg.clone(), sms.attempt()));
        let outcome = match sms.msg.as_str() {
            "fails" if sms.attempt() == 1 => Err(Failure::from("the first time")),
            "no number" => Err(Failure::reject("no such number")),
            _ => Ok(()),
        };
        std::future::ready(outcome)
    };
    let pubsub = PubSub::builder(owned.url(&subscriber)).subscribe_fn("one", handler).start().await.unwrap();

    publish(&publisher, &Sms::new("fails")).await.unwrap();
    assert_eq!(received.next().await, ("fails".to_owned(), 1));
    assert_eq!(received.next().await, ("fails".to_owned(), 2));
    publish_all(&publisher, &[Sms::new("one"), Sms::new("two")]).await.unwrap();
    publisher
        .batch_execute(r#"set search_path = pubsub; insert into db_events (channel, payload) values ('sms', '{"msg": "three"}')"#)
        .await
        .unwrap();
    publisher.batch_execute(r#"select pubsub.publish('sms', '{"msg": "four"}')"#).await.unwrap();
    let mut rest: Vec<_> = received.take(4).await.into_iter().map(|(msg, _)| msg).collect();
    rest.sort_unstable();
    assert_eq!(rest, ["four", "one", "three", "two"]);

    publish(&publisher, &Sms::new("no number")).await.unwrap();
    assert_eq!(received.next().await.0, "no number");
    let letters = loop {
        let letters = pubsub.subscription::<Sms>("one").dead_letters(None, 10).await.unwrap();
        if !letters.is_empty() {
            break letters;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(letters[0].error.as_deref(), Some("no such number"));
    assert_eq!(pubsub.subscription::<Sms>("one").redrive().await.unwrap(), 1);
    assert_eq!(received.next().await, ("no number".to_owned(), 1));

    let refused = pubsub::publish(&pubsub, &Sms::new("not a publisher")).await.unwrap_err();
    assert!(format!("{refused:?}").contains(REFUSED), "{refused:?}");
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    assert_eq!(count(&owned.owner, "select count(*) from pubsub.processes").await, 0, "it has left");
}

#[actix::test]
async fn a_subscriber_may_take_over_and_maintain_the_log() {
    let owned = OwnedDatabase::new().await;
    let both = owned.role_for("both", &["subscriber", "publisher"]).await;
    let client = owned.connect(&both).await;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "publish('sms', '{}')"] {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let register = "select pubsub.register_process('host', 1, 'test')";
    let (dead, heir) = (count(&client, register).await, count(&client, register).await);
    {
        let session = owned.connect(&both).await;
        session.query(&format!("select pubsub.beat({dead})"), &[]).await.unwrap();
        session.query(&format!("select pubsub.claim(1, {dead}, 10)"), &[]).await.unwrap();
    }
    let absent = "select cardinality(a.absent)::bigint from pubsub.absent_processes() a";
    while count(&client, absent).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reclaim = format!("select orphans from pubsub.reclaim('1 hour', array[{dead}])");
    assert_eq!(count(&client, &reclaim).await, 1);
    let claim = format!("select token from pubsub.claim_mailbox(1, {heir}, 1, suspect => true)");
    let token = count(&client, &claim).await;
    let settled = client.query_one("select pubsub.settle($1, $2)", &[&heir, &token]).await.unwrap();
    assert!(settled.get::<_, bool>(0));

    let made = client.query_one("select pubsub.ensure_partitions(40000000000)", &[]).await.unwrap();
    assert_eq!(made.get::<_, i32>(0), 2, "only the owner of the log could do that by himself");
    assert_eq!(count(&client, "select pubsub.reclaim_strays()").await, 0);
}

#[actix::test]
async fn a_publisher_can_neither_read_nor_forge() {
    let owned = OwnedDatabase::new().await;
    owned.owner.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let publisher = owned.connect(&owned.role_for("publisher", &["publisher"]).await).await;
    for insert in [
        "(channel, payload, id) values ('sms', '{}', 1)",
        "(channel, payload, xid) values ('sms', '{}', '3')",
        "(channel, payload, published_at) values ('sms', '{}', 'epoch')",
        "(channel, payload) values ('sms', '{}') returning payload",
    ] {
        let sql = format!("insert into pubsub.db_events {insert}");
        assert_eq!(error_of(&publisher, &sql).await, REFUSED, "{sql}");
    }
    for sql in [
        "select payload from pubsub.db_events",
        "select from pubsub.channels",
        "update pubsub.db_events set channel = 'sms'",
        "delete from pubsub.db_events",
        "select setval('pubsub.db_events_id_seq', 1)",
        "select pubsub.declare_channel('email')",
        "select pubsub.claim(1, 1, 1)",
        "select pubsub.grant_rights(current_user, 'subscriber')",
        "create table pubsub.events ()",
    ] {
        assert_eq!(error_of(&publisher, sql).await, REFUSED, "{sql}");
    }
    assert_eq!(
        error_of(&publisher, "select pubsub.publish('smz', '{}')").await,
        "PB001",
        "the checks still apply"
    );
}

async fn assert_state_is_visible(observer: &Client, owner: &Client) {
    let stands =
        |sql: &'static str| async move { observer.query_one(sql, &[]).await.unwrap().get::<_, String>(0) };
    assert_eq!(
        stands(
            "select format('%s/%s unread %s leased %s waiting %s overdue %s suspects %s dead %s',
                           channel, subscription, unread, leased, waiting, overdue, suspects, dead_letters)
               from pubsub.observed_subscriptions"
        )
        .await,
        "sms/one unread 2 leased 1 waiting 2 overdue 1 suspects 1 dead 1"
    );
    let since = "select count(*)
                   from pubsub.observed_subscriptions o
                  where o.oldest_unread_at = (select e.published_at from pubsub.db_events e where e.id = 6)
                    and o.oldest_lease_at = (select l.claimed_at from pubsub.leases l)
                    and o.next_due_at = (select m.due_at from pubsub.mailbox m where m.event_id = 3)";
    assert_eq!(count(owner, since).await, 1);
    assert_eq!(
        stands("select format('%s %s %s leased %s absent %s', id, host, os_pid, leased, absent) from pubsub.observed_processes")
            .await,
        "1 host 7 leased 1 absent f"
    );
    assert_eq!(
        stands("select format('%s %s/%s %s %s', token, channel, subscription, process, events) from pubsub.observed_leases")
            .await,
        "1 sms/one 1 1"
    );
    assert_eq!(
        stands(
            "select string_agg(format('%s: %s %s %s', event_id, attempt, leased, last_error), ', ' order by event_id)
               from pubsub.observed_mailbox"
        )
        .await,
        "2: 1 f connection refused, 3: 1 f died"
    );
    assert_eq!(
        stands("select format('%s %s %s', event_id, reason, error) from pubsub.observed_dead_letters").await,
        "1 rejected no such number"
    );
    assert_eq!(stands("select subscription from pubsub.observed_waiters").await, "one");
}

#[actix::test]
async fn an_observer_sees_the_state_and_no_payload() {
    let owned = OwnedDatabase::new().await;
    let client = &owned.owner;
    count_processes_from_1(client).await;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one', 2)", "register_process('host', 7, 'test')"]
    {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let publish =
        "select pubsub.publish('sms', '{\"msg\": \"secret\"}', 'secret') from generate_series(1, 7)";
    client.batch_execute(publish).await.unwrap();
    let settle = r#"'[{"id": 1, "action": "reject", "error": "no such number"},
                      {"id": 2, "action": "retry", "delay": "1 hour", "error": "connection refused"},
                      {"id": 3, "action": "crash", "error": "died"}]'"#;
    client
        .batch_execute(&format!(
            "select pubsub.claim(1, 1, 5); select pubsub.settle(1, 1, array[4], {settle});
             select pubsub.beat(1, false); select pubsub.start_waiting(1, 1, '1 minute')"
        ))
        .await
        .unwrap();

    let observer = owned.connect(&owned.role_for("observer", &["observer"]).await).await;
    assert_state_is_visible(&observer, client).await;

    for sql in [
        "select payload from pubsub.db_events",
        "select payload from pubsub.dead_letters",
        "select * from pubsub.list_dead_letters('sms', 'one')",
        "select pubsub.claim(1, 1, 1)",
        "select pubsub.publish('sms', '{}')",
    ] {
        assert_eq!(error_of(&observer, sql).await, REFUSED, "{sql}");
    }
}

#[actix::test]
async fn revoked_rights_are_gone() {
    let owned = OwnedDatabase::new().await;
    owned.owner.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let role = owned.role_for("all", &["publisher", "subscriber", "observer"]).await;
    let client = owned.connect(&role).await;
    client.batch_execute("select pubsub.publish('sms', '{}')").await.unwrap();
    owned.owner.execute("select pubsub.revoke_rights($1::text::name)", &[&role]).await.unwrap();
    for sql in [
        "select pubsub.publish('sms', '{}')",
        "insert into pubsub.db_events (channel, payload) values ('sms', '{}')",
        "select pubsub.absent_processes()",
        "select from pubsub.observed_leases",
    ] {
        assert_eq!(error_of(&client, sql).await, REFUSED, "{sql}");
    }
    let left = "select count(*)
                  from pg_shdepend d
                  join pg_roles r on r.oid = d.refobjid
                 where d.dbid = (select oid from pg_database where datname = current_database())
                   and r.rolname = current_user";
    assert_eq!(count(&client, left).await, 0, "the role can be dropped");
}

#[actix::test]
async fn rights_are_granted_to_existing_roles_and_never_to_public() {
    let owned = OwnedDatabase::new().await;
    for role in ["public", "nobody", "PUBLIC"] {
        let sql = format!("select pubsub.grant_rights('{role}', 'publisher')");
        assert_eq!(error_of(&owned.owner, &sql).await, "42704", "{sql}");
    }
    for audience in ["'public'", "null"] {
        let sql = format!("select pubsub.grant_rights(current_user, {audience})");
        assert_eq!(error_of(&owned.owner, &sql).await, "22023", "{sql}");
    }
}

#[actix::test]
async fn roles_granted_before_get_rights_on_later_additions() {
    let owned = OwnedDatabase::new().await;
    let subscriber = owned.connect(&owned.role_for("subscriber", &["subscriber"]).await).await;
    let observer = owned.connect(&owned.role_for("observer", &["observer"]).await).await;
    let settle = "pg_get_functiondef('pubsub.settle(bigint, bigint, bigint[], jsonb)'::regprocedure)";
    let replaced: String = owned.owner.query_one(&format!("select {settle}"), &[]).await.unwrap().get(0);
    let later = "create function pubsub.later() returns integer language sql volatile
                 set search_path = pg_catalog, pg_temp begin atomic select 1; end;";
    owned
        .owner
        .batch_execute(&format!(
            "begin; {later}
             insert into pubsub.audiences (object, audience) values ('later', 'subscriber');
             {};
             select pubsub.apply_audiences(); commit",
            replaced.replace(" SECURITY DEFINER", "")
        ))
        .await
        .unwrap();
    assert_eq!(subscriber.query_one("select pubsub.later()", &[]).await.unwrap().get::<_, i32>(0), 1);
    subscriber.batch_execute("select pubsub.settle(1, 1)").await.unwrap();
    assert_eq!(error_of(&observer, "select pubsub.later()").await, REFUSED);
}

#[actix::test]
async fn a_granted_function_without_search_path_is_refused() {
    let owned = OwnedDatabase::new().await;
    let later = "create function pubsub.later() returns integer language sql return 1;
                 insert into pubsub.audiences (object, audience) values ('later', 'subscriber');
                 select pubsub.apply_audiences()";
    assert_eq!(error_of(&owned.owner, later).await, "42P13");
}

#[actix::test]
async fn functions_installed_one_by_one_are_refused() {
    let owned = OwnedDatabase::new().await;
    let later = "create function pubsub.later() returns integer language sql
                 set search_path = pg_catalog, pg_temp begin atomic select 1; end";
    owned.owner.batch_execute(later).await.unwrap();
    let apply = "insert into pubsub.audiences (object, audience) values ('later', 'subscriber');
                 select pubsub.apply_audiences()";
    assert_eq!(error_of(&owned.owner, apply).await, "42883", "they would keep the rights of all roles");
}

#[actix::test]
async fn only_the_owner_may_migrate() {
    let owned = OwnedDatabase::new().await;
    let later = "create function pubsub.later() returns integer language sql return 1;
                 select pubsub.apply_audiences()";
    assert_eq!(error_of(&owned.admin, later).await, "42P17");
}

#[actix::test]
async fn a_publisher_names_the_stranger_who_locks_its_channel() {
    let owned = OwnedDatabase::new().await;
    let publisher = owned.connect(&owned.role_for("publisher", &["publisher"]).await).await;
    owned.owner.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let stranger = owned.role("stranger").await;
    let session = owned.connect(&stranger).await;
    session
        .batch_execute("select pg_advisory_lock(hashtext('pubsub.publishing'), hashtext('sms'))")
        .await
        .unwrap();
    publisher.batch_execute("set lock_timeout = '50ms'").await.unwrap();
    for sql in [
        "insert into pubsub.db_events (channel, payload) values ('sms', '{}')",
        "insert into pubsub.db_events (channel, payload) values ('sms', '{}'), ('sms', '{}')",
        "select pubsub.publish_once('sms', '{}', 'key')",
        "select pubsub.publish_all_once('sms', '{\"{}\"}', '{key}')",
    ] {
        let refused = publisher.batch_execute(sql).await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "55P03", "{sql}");
        assert!(refused.message().contains(&format!("of role \"{stranger}\"")), "{}", refused.message());
    }
    // A publisher without a timeout of its own does not wait without end.
    publisher.batch_execute("set lock_timeout = 0; set statement_timeout = '60s'").await.unwrap();
    let insert = "insert into pubsub.db_events (channel, payload) values ('sms', '{}')";
    assert_eq!(error_of(&publisher, insert).await, "55P03");
    drop(session);
    publisher.batch_execute(insert).await.unwrap();
}
