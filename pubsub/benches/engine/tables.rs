//! The tables with which the log is compared.

/// The payload of every event: about a hundred bytes of JSON.
pub(crate) const PAYLOAD: &str = r#"{"order": 123, "amount": 9.99, "note": "a note about as long as an average one, and not longer than that"}"#;

/// The events of one claim.
pub(crate) const BATCH: u64 = 100;

/// - `bare`: the log's columns and indexes, without its partitions, checks and trigger
/// - `partitioned`: the log's columns, indexes, checks and partitions, without its trigger
/// - `notifying`: as `bare`, with a trigger that notifies for each row
/// - `queue`: a row for each event and subscription, claimed by an update and acknowledged by a delete
pub(crate) const DEFINITIONS: &str = concat!(
    include_str!("../bare.sql"),
    "
    create table partitioned (like pubsub.db_events including all) partition by range (id);
    create table partitioned_0 partition of partitioned for values from (0) to (10000000);
    create table partitioned_1 partition of partitioned for values from (10000000) to (20000000);
    create table partitioned_2 partition of partitioned for values from (20000000) to (30000000);
    create table partitioned_3 partition of partitioned for values from (30000000) to (40000000);

    create table notifying (like bare including all);
    create function notify() returns trigger
    language plpgsql
    as $$ begin perform pg_notify('notifying', new.channel); return null; end $$;
    create trigger notify after insert on notifying for each row execute function notify();

    create table queue (
        id           bigint generated always as identity primary key,
        subscription integer not null,
        state        smallint not null default 0,
        attempt      integer not null default 0,
        locked_until timestamptz,
        owner        text,
        key          text,
        payload      jsonb,
        headers      jsonb,
        version      integer not null default 1,
        published_at timestamptz not null default clock_timestamp()
    );
    create index on queue (subscription, id) where state = 0;

    select pubsub.declare_channel('bench')"
);

/// Turns autovacuum off, so that it does not remove dead tuples before they are counted.
pub(crate) const WITHOUT_AUTOVACUUM: &str = "
    do $$
    declare
        name text;
    begin
        for name in
            select c.oid::regclass
              from pg_class c
             where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'pubsub'::regnamespace)
        loop
            execute format('alter table %s set (autovacuum_enabled = off)', name);
        end loop;
    end
    $$";

/// A way to hand out events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Design {
    Log,
    /// A queue whose claims commit synchronously, as in the libraries with such a queue.
    Queue,
    /// A queue whose claims commit asynchronously, as the log's claims do.
    AsyncQueue,
}

impl Design {
    pub(crate) const ALL: [Self; 3] = [Self::Log, Self::Queue, Self::AsyncQueue];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Log => "drain",
            Self::Queue => "queue_drain",
            Self::AsyncQueue => "async_queue_drain",
        }
    }

    /// The statement that publishes a backlog.
    pub(crate) fn load(self, events: u64, subscriptions: i32) -> String {
        match self {
            Self::Log => format!(
                "insert into pubsub.db_events (channel, key, payload)
                 select 'bench', (n % 1000)::text, '{PAYLOAD}' from generate_series(1, {events}) n"
            ),
            // A queue with more than one subscription would keep the payload once, elsewhere, so its rows have none.
            Self::Queue | Self::AsyncQueue => format!(
                "insert into queue (subscription, key, payload)
                 select s, (n % 1000)::text, {}
                   from generate_series(1, {events}) n, generate_series(1, {subscriptions}) s",
                if subscriptions == 1 { format!("'{PAYLOAD}'") } else { "null".to_owned() }
            ),
        }
    }

    /// The statement that claims the next batch.
    pub(crate) fn claim(self) -> String {
        let asynchronous = "set_config('synchronous_commit', 'off', true)";
        let queue = |commit: &str| {
            format!(
                "with due as materialized (
                     select q.id
                       from {commit}, lateral (
                           select q.id
                             from queue q
                            where q.subscription = $1 and q.state = 0
                            order by q.subscription, q.id
                            limit {BATCH}
                              for update skip locked
                       ) q
                 )
                 update queue q
                    set state = 1,
                        attempt = q.attempt + 1,
                        locked_until = clock_timestamp() + interval '30 seconds',
                        owner = 'consumer'
                   from due
                  where q.id = due.id
                 returning q.id, q.key, q.payload, q.headers, q.version, q.published_at"
            )
        };
        match self {
            Self::Log => format!(
                "select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at
                   from {asynchronous}, pubsub.claim($1, $2, {BATCH}) c"
            ),
            Self::Queue => queue("(select) as_the_server_says"),
            Self::AsyncQueue => queue(asynchronous),
        }
    }

    /// The statement that acknowledges a batch.
    pub(crate) fn acknowledge(self) -> &'static str {
        match self {
            Self::Log => "select pubsub.settle($1, $2)",
            Self::Queue | Self::AsyncQueue => "delete from queue q where q.id = any ($1)",
        }
    }
}
