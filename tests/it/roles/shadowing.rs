//! Functions with their owner's rights run no code of their caller's, whatever names the caller defines.

use pubsub_tests::{OwnedDatabase, count_processes_from_1};
use std::collections::BTreeSet;
use tokio_postgres::Client;

/// The SQLSTATE that all of the attacker's code raises.
const ATTACKED: &str = "EVIL1";

/// A schema that has, for every function and operator whose name occurs in one of our functions, one with the same name and
/// arguments; domains named like types; and relations named like ours and like the catalog's.
const SHADOWS: &str = r#"
create schema evil;
-- A role without usage of a schema does not resolve names in it.
grant usage on schema evil to public;
alter default privileges grant select on tables to public;

create function evil.attack(what text) returns boolean language plpgsql as $$
begin
    raise exception using errcode = 'EVIL1', message = what;
end
$$;

do $shadow$
declare
    body   constant text := 'begin perform evil.attack(%L); end';
    source constant text := (
        select string_agg(pg_get_functiondef(p.oid), ' ') from pg_proc p where p.pronamespace = 'pubsub'::regnamespace
    );
    shadow record;
begin
    for shadow in
        select p.proname as name, oidvectortypes(p.proargtypes) as arguments,
               case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null) as result
          from pg_proc p
         where p.pronamespace = 'pg_catalog'::regnamespace
           and p.prokind = 'f'
           and p.prorettype <> 'record'::regtype
           and source ~ ('\m' || p.proname || '\M')
        union all
        -- Variadic ones take anything: these are nearer to what is given.
        select name, arguments, result
          from unnest(array['text', 'bigint', 'integer', 'text, text', 'integer, integer', 'bigint, text',
                            'bigint, text, integer', 'integer, text']) given
         cross join lateral (
             values ('format', 'text, ' || given, 'text'), ('jsonb_build_object', 'text, ' || given, 'jsonb')
         ) nearer (name, arguments, result)
    loop
        begin
            execute format(
                'create function evil.%I(%s) returns %s language plpgsql as %L',
                shadow.name, shadow.arguments, shadow.result, format(body, shadow.name)
            );
        exception when invalid_function_definition or feature_not_supported or duplicate_function or syntax_error then
            null;  -- of pseudo-types that no language but C can take
        end;
    end loop;
    for shadow in
        select o.oprname as name, format_type(nullif(o.oprleft, 0), null) as l, format_type(o.oprright, null) as r,
               format_type(o.oprresult, null) as result
          from pg_operator o
         where o.oprnamespace = 'pg_catalog'::regnamespace
           and strpos(source, o.oprname) > 0
           and format_type(o.oprresult, null) <> 'internal'
    loop
        begin
            execute format(
                'create function evil.operator(%s) returns %s language plpgsql as %L',
                concat_ws(', ', shadow.l, shadow.r), shadow.result, format(body, shadow.name)
            );
        exception when duplicate_function or invalid_function_definition or ambiguous_function then
            null;
        end;
        begin
            execute format(
                'create operator evil.%s (function = evil.operator, %s rightarg = %s)',
                shadow.name, 'leftarg = ' || shadow.l || ',', shadow.r
            );
        exception when invalid_function_definition or undefined_function or syntax_error then
            null;
        end;
    end loop;
    for shadow in
        select t.typname as name
          from pg_type t
         where t.typnamespace = 'pg_catalog'::regnamespace
           and t.typtype = 'b'
           and source ~ ('\m' || t.typname || '\M')
    loop
        execute format(
            'create domain evil.%I as pg_catalog.%I check (evil.attack(%L))', shadow.name, shadow.name, shadow.name
        );
    end loop;
    for shadow in
        select distinct c.relname as name
          from pg_class c
         where (c.relnamespace = 'pubsub'::regnamespace and c.relkind in ('r', 'p', 'v', 'S'))
            or (c.relnamespace = 'pg_catalog'::regnamespace and source ~ ('\m' || c.relname || '\M'))
        union all
        select 'new_events'
    loop
        execute format('create view evil.%I as select evil.attack(%L)', shadow.name, shadow.name);
        execute format('create temp view %I as select evil.attack(%L)', shadow.name, shadow.name);
    end loop;
end
$shadow$"#;

/// At least one call of every function for other roles: its name, its SQL, and the error that it must end with, if any. The
/// calls leave a process with a lease, a mailbox row and a waiter row behind.
const CALLS: &[(&str, &str, Option<&str>)] = &[
    ("declare_channel", "pubsub.declare_channel('sms')", None),
    ("declare_channel", "pubsub.declare_channel('S M S')", Some("22023")),
    ("declare_version", "pubsub.declare_version('sms', 1, 17)", None),
    ("declare_version", "pubsub.declare_version('smz', 1, 17)", Some("PB001")),
    ("subscribe", "pubsub.subscribe('smz', 'one')", Some("PB001")),
    ("subscribe", "pubsub.subscribe('sms', 'one', 3)", None),
    ("subscribe", "pubsub.subscribe('sms', 'one', 4)", None),
    ("register_process", "pubsub.register_process('host', 1, 'test')", None),
    ("beat", "pubsub.beat(1)", None),
    (
        "publish",
        "pubsub.publish('sms', '{}'), pubsub.publish('sms', '{}'), pubsub.publish('sms', '{}'), pubsub.publish('sms', '{}')",
        None,
    ),
    ("publish", "pubsub.publish('smz', '{}')", Some("PB001")),
    ("start_waiting", "pubsub.start_waiting(1, 1, '1 minute')", None),
    ("no_publisher_at_work", "pubsub.no_publisher_at_work(1)", None),
    ("poll", "pubsub.poll('{1}', 1, '{1}')", None),
    ("publish", "pubsub.publish('sms', '{}')", None),
    ("declare_schema", "pubsub.declare_schema('sms', 1, 'true', true)", None),
    ("declare_schema", "pubsub.declare_schema('smz', 1, 'true')", Some("PB001")),
    ("list_schemas", "pubsub.list_schemas()", None),
    ("claim", "pubsub.claim(1, 2, 2)", Some("PB006")),
    ("claim", "pubsub.claim(1, 1, 3)", None),
    ("settle_in", "pubsub.settle_in(1, 1, 3)", None),
    ("settle_in", "pubsub.settle_in(1, 1, 3)", Some("PB010")),
    ("are_settled", "pubsub.are_settled('{1}', '{3}')", None),
    (
        "settle",
        r#"pubsub.settle(1, 1, null, '[{"id": 1, "action": "retry", "error": "no"}, {"id": 2, "action": "reject"}]')"#,
        None,
    ),
    ("next_due", "pubsub.next_due('{1}')", None),
    ("claim_mailbox", "pubsub.claim_mailbox(1, 1, 1)", None),
    ("claim_mailbox", "pubsub.claim_mailbox(1, 1, 1, knows => 1)", None),
    ("return_unknown", "pubsub.return_unknown(1, 1, '{}')", None),
    ("list_dead_letters", "pubsub.list_dead_letters('sms', 'one')", None),
    ("list_dead_letters", "pubsub.list_dead_letters('sms', 'two')", Some("PB004")),
    ("purge_dead_letters", "pubsub.purge_dead_letters('sms', 'one')", None),
    ("purge_dead_letters", "pubsub.purge_dead_letters('sms', 'two')", Some("PB004")),
    ("redrive", "pubsub.redrive('sms', 'one')", None),
    ("redrive", "pubsub.redrive('sms', 'two')", Some("PB004")),
    ("absent_processes", "pubsub.absent_processes()", None),
    ("reclaim", "pubsub.reclaim('1 microsecond', '{1}')", None),
    ("register_process", "pubsub.register_process('host', 1, 'test')", None),
    ("beat", "pubsub.beat(2)", None),
    ("claim", "pubsub.claim(1, 2, 1)", None),
    ("reclaim_strays", "pubsub.reclaim_strays()", None),
    ("ensure_partitions", "pubsub.ensure_partitions(30000000000)", None),
    ("set_retention", "pubsub.set_retention('sms', '0')", None),
    ("set_unread_limit", "pubsub.set_unread_limit('sms', 'one', '0')", None),
    ("set_unread_limit", "pubsub.set_unread_limit('sms', 'two', '0')", Some("PB004")),
    ("close_partitions", "pubsub.close_partitions()", None),
    ("skip_ids", "pubsub.skip_ids()", None),
    ("advance_idle_cursors", "pubsub.advance_idle_cursors()", None),
    ("unread_subscriptions", "pubsub.unread_subscriptions('0')", None),
    ("suspend_unread", "pubsub.suspend_unread()", None),
    ("claim", "pubsub.claim(1, 2, 1)", Some("PB007")),
    ("tidy", "pubsub.tidy()", None),
    ("resume", "pubsub.resume('sms', 'one')", None),
    ("removal_steps", "pubsub.removal_steps()", None),
    ("next_removal", "pubsub.next_removal()", None),
    ("detach_partition", "pubsub.detach_partition(0)", None),
    ("drop_partition", "pubsub.drop_partition(0)", None),
    ("xmin_holders", "pubsub.xmin_holders('0', 0)", None),
    ("start_waiting", "pubsub.start_waiting(1, 2, '1 minute')", None),
    ("report_awake", "pubsub.report_awake(1, 2, '1 minute')", None),
    ("stop_waiting", "pubsub.stop_waiting(1, 3)", None),
    ("recognize", "pubsub.recognize()", None),
    ("seek", "pubsub.seek('sms', 'one', event => 2)", None),
    ("seek", "pubsub.seek('sms', 'one', since => '-infinity')", None),
    ("seek", "pubsub.seek('sms', 'one', 'now', dry_run => true)", None),
    ("seek", "pubsub.seek('sms', 'one', 'beginning')", None),
    ("claim", "pubsub.claim(1, 2, 1)", None),
    // Ordered, and unordered again.
    ("subscribe", "pubsub.subscribe('sms', 'two', lanes => 2)", None),
    ("publish", "pubsub.publish('sms', '{}', 'a'), pubsub.publish('sms', '{}', 'a')", None),
    ("claim", "pubsub.claim(2, 2, 1)", None),
    ("set_dedupe_window", "pubsub.set_dedupe_window('smz', '1 hour')", Some("PB001")),
    ("set_dedupe_window", "pubsub.set_dedupe_window('sms', '1 hour')", None),
    ("publish_once", "pubsub.publish_once('smz', '{}', 'a')", Some("PB001")),
    ("publish_once", "pubsub.publish_once('sms', '{}', 'a'), pubsub.publish_once('sms', '{}', 'a')", None),
    ("publish_once", "pubsub.publish_once('sms', '{}', null)", None),
    ("publish_all_once", r#"pubsub.publish_all_once('sms', '{"{}", "{}"}', '{a,b}')"#, None),
    ("publish_all_once", "pubsub.publish_all_once('sms', '{}', '{a}')", Some("22023")),
    ("forget_dedupe_keys", "pubsub.forget_dedupe_keys()", None),
    ("stop_running", "pubsub.stop_running(2, 3)", None),
    ("count_unread", "pubsub.count_unread(2)", None),
    ("lag", "pubsub.lag('sms', 'one')", None),
    ("lag", "pubsub.lag('smz', 'one')", Some("PB004")),
    ("next", "pubsub.next(1, 2)", None),
    ("subscribe", "pubsub.subscribe('sms', 'three')", None),
    ("publish", "pubsub.publish('sms', '{}')", None),
    ("unsubscribe", "pubsub.unsubscribe('sms', 'three')", Some("PB009")),
    ("unsubscribe", "pubsub.unsubscribe('sms', 'three', true)", None),
    ("unsubscribe", "pubsub.unsubscribe('sms', 'three')", Some("PB004")),
    ("leave", "pubsub.leave(3)", None),
];

/// The SQLSTATE that a call ends with, if it fails.
async fn outcome(attacker: &Client, call: &str) -> Option<String> {
    let sql = format!("select {call}");
    let error = attacker.batch_execute(&sql).await.err()?;
    Some(error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned()))
}

/// Opens a connection of the attacker's on which every unqualified name is the attacker's.
async fn attack(owned: &OwnedDatabase, attacker: &str, set_up: bool) -> Client {
    let client = owned.connect(attacker).await;
    if set_up {
        client.batch_execute(SHADOWS).await.unwrap();
    }
    client.batch_execute("set search_path = evil, pg_temp, pubsub, pg_catalog").await.unwrap();
    client
}

async fn owners_functions(owned: &OwnedDatabase, and: &str) -> BTreeSet<String> {
    let sql = format!(
        "select p.proname::text
           from pg_proc p
          where p.pronamespace = 'pubsub'::regnamespace
            and p.prosecdef
            and p.prorettype <> 'trigger'::regtype
            and {and}"
    );
    owned.owner.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[actix::test]
async fn an_attackers_functions_and_operators_are_never_run() {
    let owned = OwnedDatabase::new().await;
    count_processes_from_1(&owned.owner).await;
    let attacker = owned.role_for("attacker", &["publisher", "subscriber", "observer"]).await;
    let database = "select current_database()::text";
    let database: String = owned.admin.query_one(database, &[]).await.unwrap().get(0);
    owned.admin.batch_execute(&format!("grant create on database {database} to {attacker}")).await.unwrap();

    let client = attack(&owned, &attacker, true).await;
    assert_eq!(outcome(&client, "1 = 1").await.as_deref(), Some(ATTACKED), "the attack works at all");
    let called: BTreeSet<_> = CALLS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(called, owners_functions(&owned, "true").await, "every function for others is called");
    for (_, call, expected) in CALLS {
        assert_eq!(outcome(&client, call).await.as_deref(), *expected, "{call}");
    }
    let views = "select c.relname::text from pg_class c where c.relnamespace = 'pubsub'::regnamespace and c.relkind = 'v' and c.relname like 'observed%'";
    for view in owned.owner.query(views, &[]).await.unwrap() {
        let call = format!("count from pubsub.{} as row (count)", view.get::<_, String>(0));
        assert_eq!(outcome(&client, &call).await, None, "{call}");
    }

    // The same attack on the same functions without their protection.
    let unpin = "do $$
                 declare routine regprocedure;
                 begin
                     for routine in select p.oid from pg_proc p where p.pronamespace = 'pubsub'::regnamespace
                       and p.prosecdef
                     loop
                         execute format('alter function %s reset search_path', routine);
                     end loop;
                 end $$";
    owned.owner.batch_execute(unpin).await.unwrap();
    let client = attack(&owned, &attacker, false).await;
    let mut attacked = BTreeSet::new();
    for (name, call, _) in CALLS {
        if outcome(&client, call).await.as_deref() == Some(ATTACKED) {
            attacked.insert((*name).to_owned());
        }
    }
    // A body that was parsed when it was defined cannot be shadowed. `publish` fires a trigger, whose body is not parsed.
    let mut vulnerable = owners_functions(&owned, "p.prosqlbody is null").await;
    vulnerable.insert("publish".to_owned());
    assert_eq!(attacked, vulnerable);
}
