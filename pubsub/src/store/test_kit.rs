//! The questions of the test kit to the database. Unlike the rest of the library it reads the tables, and moves due times in them.
//!
//! In a database whose time is held, a delivery that is due later is due a thousand years after that. So it is never due by itself,
//! however slow the test is.

use super::executor::{self, BoxError, Executor, Parameter, Row, Statement};
use super::{Store, seconds};
use crate::error::{Error, from_database, from_driver};
use crate::model::channel::Channel;
use crate::model::payload::undecodable;
use std::time::Duration;

/// Made by [`HOLD`]. In one statement, so in one snapshot: a handler publishes before its own delivery is settled.
const OPEN: &str = "select * from pubsub_testing.open()";

/// A thousand years in hours, whose length is always the same. What is due after half of that is held already. The last statement
/// lets the trigger hold what waits from before. Without the lock, harnesses that start at once would create the same things.
/// `open` is a function to be without JIT, which takes a hundred times as long to compile the query as the query takes.
const HOLD: &str = "
    do $do$
    begin
        perform pg_advisory_xact_lock(hashtext('pubsub_testing'));
        create schema if not exists pubsub_testing;

        create or replace function pubsub_testing.hold() returns trigger
        language plpgsql set search_path = pg_catalog, pg_temp as $$
        begin
            new.due_at := new.due_at + make_interval(hours => 8766000);
            return new;
        end
        $$;

        create or replace trigger hold before insert or update of due_at on pubsub.mailbox
        for each row
        when (new.due_at > clock_timestamp() and new.due_at < clock_timestamp() + make_interval(hours => 4383000))
        execute function pubsub_testing.hold();

        create or replace function pubsub_testing.open() returns table (
            channel text, subscription text, is_suspended boolean, unread bigint, leased bigint, due bigint, too_new bigint
        )
        language sql stable set jit = off set search_path = pg_catalog, pg_temp as $$
            select s.channel, s.name, s.suspended_at is not null, ahead.unread, held.leased, mail.due, mail.too_new
              from pubsub.subscriptions s
             cross join lateral (
                 select count(*) as unread
                   from pubsub.positions(s.id) c
                  cross join lateral pubsub.unread_events(
                                c, s.channel, s.lanes, pg_current_snapshot(), pubsub.log_floor()
                            )
             ) ahead
             cross join lateral (
                 select coalesce(sum(cardinality(l.event_ids)), 0)::bigint as leased
                   from pubsub.leases l where l.subscription = s.id
             ) held
             cross join lateral (
                 select count(*) filter (where m.needs is null) as due, count(*) filter (where m.needs is not null) as too_new
                   from pubsub.mailbox m
                  where m.subscription = s.id and m.token is null and m.due_at <= clock_timestamp()
             ) mail
             where ahead.unread + held.leased + mail.due + mail.too_new > 0
             order by s.channel, s.name
        $$;

        update pubsub.mailbox m set due_at = m.due_at where m.token is null and m.due_at > clock_timestamp();
    end
    $do$";

/// The most time that passes at once: longer than any delay, and short enough for every time that is held to be one still.
const LONGEST_PASS: Duration = Duration::from_secs(1_000 * 366 * 24 * 60 * 60);

/// Lets go what is due now, and rings the bell that says that the mailbox may have changed.
const PASS: &str = "
    with moved as (
        update pubsub.mailbox m
           set due_at = m.due_at - t.passed
                      - case when m.due_at - t.passed <= clock_timestamp() + t.held then t.held else interval '0' end
          from (select make_interval(secs => $1) as passed, make_interval(hours => 8766000) as held) t
         where m.token is null and m.due_at > clock_timestamp() and m.due_at < 'infinity'
        returning m.event_id
    )
    select pg_notify('pubsub', '') from (select count(*) from moved) m";

const PUBLISHED_IN_TRANSACTION: &str = "
    select d.id, d.version::bigint, d.payload::text from pubsub.db_events d
     where d.xid = pg_current_xact_id_if_assigned() and d.channel = $1 order by d.id limit 100000";

const PUBLISHED_IN_LOG: &str = "
    select d.id, d.version::bigint, d.payload::text from pubsub.db_events d
     where d.channel = $1 order by d.id limit 100000";

const READING: &str = "read the events of a channel";

/// A subscription that is not settled.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) channel: String,
    pub(crate) subscription: String,
    pub(crate) is_suspended: bool,
    pub(crate) unread: i64,
    pub(crate) leased: i64,
    pub(crate) due: i64,
    /// Due deliveries that a process has refused, because it does not know their version.
    pub(crate) too_new: i64,
}

/// An event that was published, and the JSON text of its payload.
#[derive(Debug)]
pub struct Seen<C> {
    pub(crate) event: C,
    pub(crate) json: String,
}

impl Store {
    /// Returns the subscriptions that are not settled: with events that are unread, or deliveries that are leased or due.
    pub(crate) async fn open(&self) -> Result<Vec<Open>, Error> {
        const DOING: &str = "say what is not settled";
        let open = |row: &tokio_postgres::Row| {
            Ok(Open {
                channel: row.try_get(0)?,
                subscription: row.try_get(1)?,
                is_suspended: row.try_get(2)?,
                unread: row.try_get(3)?,
                leased: row.try_get(4)?,
                due: row.try_get(5)?,
                too_new: row.try_get(6)?,
            })
        };
        let rows = self.query(DOING, OPEN, &[]).await?;
        rows.iter().map(open).collect::<Result<_, _>>().map_err(|source| from_database(DOING, source))
    }

    /// Holds the time of the deliveries in this database: none is due later by itself. Needs a database that is migrated.
    pub(crate) async fn hold(&self) -> Result<(), Error> {
        self.query("hold due times", HOLD, &[]).await.map(drop)
    }

    /// Moves every due time that is held, as if so much time had passed.
    pub(crate) async fn pass(&self, time: Duration) -> Result<(), Error> {
        self.query("move due times", PASS, &[&seconds(time.min(LONGEST_PASS))]).await.map(drop)
    }

    /// Returns the events of a channel, the first 100,000.
    pub(crate) async fn published<C: Channel>(&self) -> Result<Vec<Seen<C>>, Error> {
        read(&self.run(statement(PUBLISHED_IN_LOG, &[Parameter::Text(Some(C::NAME))])).await?)
    }
}

/// Returns the events of a channel that a transaction has published, the first 100,000.
pub(crate) async fn published_in<C: Channel>(mut executor: impl Executor) -> Result<Vec<Seen<C>>, Error> {
    let channel = [Parameter::Text(Some(C::NAME))];
    read(&executor::run(&mut executor, statement(PUBLISHED_IN_TRANSACTION, &channel)).await?)
}

fn statement<'a>(sql: &'static str, parameters: &'a [Parameter<'a>]) -> Statement<'a> {
    Statement { doing: READING, sql, parameters }
}

fn read<C: Channel>(rows: &[Row]) -> Result<Vec<Seen<C>>, Error> {
    let seen = |row: &Row| {
        let (id, version, json): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let version = u32::try_from(version)?;
        let event = C::decode(version, json.as_bytes())
            .map_err(|error| format!("event {id} of channel `{}`: {}", C::NAME, undecodable(&error)))?;
        Ok(Seen { event, json })
    };
    rows.iter()
        .map(seen)
        .collect::<Result<_, BoxError>>()
        .map_err(|source| from_driver(READING, None, source))
}
