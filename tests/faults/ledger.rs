//! Tables of the run's own, written in the transactions that they describe: the events that committed, and each change of a lease.

use crate::history::{Committed, History, LeaseChange, LeaseStep};
use crate::worker::SUBSCRIPTIONS;
use tokio_postgres::Client;

/// The number of keys.
pub(crate) const KEYS: i32 = 24;

const TABLES: &str = "
    create schema faults;
    create table faults.keys (key integer primary key, seq bigint not null);
    create table faults.committed (
        n bigint primary key, key integer not null, seq bigint not null, event bigint not null
    );
    create index on faults.committed (event);
    create table faults.leases (
        at           bigint generated always as identity,
        step         text not null,
        subscription integer not null,
        event        bigint not null,
        token        bigint not null
    );

    create function faults.record_claim() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
        insert into faults.leases (step, subscription, event, token)
        select 'claimed', new.subscription, e.id, new.token
          from unnest(new.event_ids) e (id)
         where tg_op = 'INSERT' or not e.id = any (old.event_ids);
        return null;
    end;
    $$;
    create trigger record_claim after insert or update on pubsub.leases
        for each row execute function faults.record_claim();

    -- At the end of the transaction: a delivery that it has left nowhere is done.
    create function faults.record_end() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
    begin
        insert into faults.leases (step, subscription, event, token)
        select case
                   when exists (
                       select from pubsub.mailbox m where m.subscription = old.subscription and m.event_id = e.id
                   ) or exists (
                       select from pubsub.dead_letters d where d.subscription = old.subscription and d.event_id = e.id
                   ) then 'given back'
                   else 'done'
               end,
               old.subscription, e.id, old.token
          from unnest(old.event_ids) e (id)
         where tg_op = 'DELETE' or not e.id = any (new.event_ids);
        return null;
    end;
    $$;
    create constraint trigger record_end after update or delete on pubsub.leases
        deferrable initially deferred
        for each row execute function faults.record_end();";

/// Creates the tables.
pub(crate) async fn create(client: &Client) {
    client.batch_execute(TABLES).await.expect("tables of the run's own");
    let keys = format!("insert into faults.keys select key, 0 from generate_series(1, {KEYS}) key");
    client.batch_execute(&keys).await.expect("keys");
}

/// The events of these that did not commit.
pub(crate) async fn uncommitted(client: &Client, events: &[i64]) -> Vec<i64> {
    let missing = "select n from unnest($1::bigint[]) n where not exists (select from faults.committed c where c.n = n.n)";
    let rows = client.query(missing, &[&events]).await.expect("the events that are missing");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Reads the database's part of a history.
pub(crate) async fn read(client: &Client, history: &mut History) {
    history.ordered = SUBSCRIPTIONS.iter().map(|(_, ordered)| *ordered).collect();
    let committed = client.query("select n, key, seq from faults.committed", &[]).await.expect("the events");
    let event = |row: &tokio_postgres::Row| Committed { n: row.get(0), key: row.get(1), seq: row.get(2) };
    history.committed = committed.iter().map(event).collect();
    let names: Vec<&str> = SUBSCRIPTIONS.iter().map(|(name, _)| *name).collect();
    let leases = "select l.step, array_position($1, s.name), c.n, l.token
                    from faults.leases l
                    join pubsub.subscriptions s on s.id = l.subscription
                    join faults.committed c on c.event = l.event
                   order by l.at";
    let leases = client.query(leases, &[&names]).await.expect("the leases");
    let change = |row: &tokio_postgres::Row| LeaseChange {
        step: match row.get(0) {
            "claimed" => LeaseStep::Claimed,
            "done" => LeaseStep::Done,
            _ => LeaseStep::GivenBack,
        },
        subscription: index(row.get(1)),
        n: row.get(2),
        token: row.get(3),
    };
    history.leases = leases.iter().map(change).collect();
    let dead = "select array_position($1, s.name), c.n
                  from pubsub.dead_letters d
                  join pubsub.subscriptions s on s.id = d.subscription
                  join faults.committed c on c.event = d.event_id";
    let dead = client.query(dead, &[&names]).await.expect("the dead letters");
    history.dead = dead.iter().map(|row| (index(row.get(0)), row.get(1))).collect();
}

/// The index of a subscription from its position in an array of PostgreSQL.
fn index(position: i32) -> usize {
    usize::try_from(position - 1).expect("positions are counted from 1")
}
