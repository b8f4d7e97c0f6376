//! The known holes of a log that is read by a cursor, and broken claims that fall into them.
//!
//! A broken claim is the real one with a piece of its text replaced, in the test's own database. A test that could not fail
//! would look the same as a test that passes.

use tokio_postgres::Client;

use crate::checker::Report;
use crate::database::Result;

const CLAIM: &str = "pubsub.claim(integer, bigint, integer, integer, boolean, bigint, bigint[])";

const OPEN_WINDOW: &str = "pubsub.open_window(pubsub.cursors, text, bigint, bigint, bigint, boolean)";

/// A way to lose events or their order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hole {
    /// A transaction in flight above the snapshot's xmax: xmax is the latest *finished* transaction id plus one.
    AboveXmax,
    /// A transaction that started after the fence was drawn, if the sequence is read only then.
    AboveFence,
    /// Events that the claim's own transaction publishes after the claim.
    OwnTransaction,
    /// A transaction that took its id first and the key's lock second.
    TransactionOrder,
    /// A transaction that commits after one with higher event ids.
    LateCommit,
}

impl Hole {
    pub(crate) const ALL: [Self; 5] =
        [Self::AboveXmax, Self::AboveFence, Self::OwnTransaction, Self::TransactionOrder, Self::LateCommit];

    /// Replaces `pubsub.claim` by one that falls into this hole.
    pub(crate) async fn reopen(self, client: &Client) -> Result<()> {
        match self {
            // Stragglers are searched below the lower boundary's xmax only.
            Self::AboveXmax => {
                let boundary = "c.read_snapshot, c.read_fence";
                break_function(client, OPEN_WINDOW, &[(boundary, "c.read_snapshot, 0")]).await
            }
            Self::AboveFence => {
                let sequence = "c.window_sequence := sequence;";
                break_function(
                    client,
                    OPEN_WINDOW,
                    &[(sequence, "c.window_sequence := pubsub.log_sequence();")],
                )
                .await
            }
            Self::OwnTransaction => {
                break_function(client, OPEN_WINDOW, &[("pubsub.own_snapshot()", "pg_current_snapshot()")])
                    .await
            }
            // The batch is ordered by transaction id, as in designs that sort by (xid, id).
            Self::TransactionOrder => {
                let order = "e.id <> all (parked))\n             order by e.id";
                let broken = "e.id <> all (parked)) order by e.xid, e.id";
                break_function(client, CLAIM, &[(order, broken)]).await
            }
            Self::LateCommit => Ok(client.batch_execute(HIGHEST_ID_CLAIM).await?),
        }
    }

    /// Whether these deliveries fell into this hole.
    pub(crate) fn is_in(self, reports: &[Report]) -> bool {
        reports.iter().any(|report| match self {
            Self::TransactionOrder => report.disordered() > 0,
            Self::AboveXmax | Self::AboveFence | Self::OwnTransaction | Self::LateCommit => report.lost() > 0,
        })
    }
}

/// Replaces pieces of a function's text.
pub(crate) async fn break_function(client: &Client, function: &str, pieces: &[(&str, &str)]) -> Result<()> {
    Ok(pubsub_tests::break_function(client, function, pieces).await?)
}

/// The naive claim: every event after the highest id seen so far.
const HIGHEST_ID_CLAIM: &str = "
create table public.highest_ids (subscription integer primary key, id bigint not null);
insert into public.highest_ids select s.id, 0 from pubsub.subscriptions s;

create or replace function pubsub.claim(
    subscription integer, process bigint, batch integer, start_limit integer default null,
    polling boolean default false, bytes bigint default 4194304, known bigint[] default null
)
returns table (
    token        bigint,
    id           bigint,
    key          text,
    payload      jsonb,
    headers      jsonb,
    version      integer,
    published_at timestamptz,
    replay       boolean
)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    highest bigint;
begin
    select h.id into highest from public.highest_ids h where h.subscription = claim.subscription for update;
    return query
    with events as materialized (
        select e.*
          from pubsub.subscriptions s
          join pubsub.db_events e on e.channel = s.channel
         where s.id = claim.subscription
           and e.id > highest
         order by e.id
         limit claim.batch
    ),
    lease as (
        insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox)
        select claim.subscription, 0, claim.process, array_agg(e.id), false from events e having count(*) > 0
        returning leases.token
    ),
    moved as (
        update public.highest_ids h
           set id = (select max(e.id) from events e)
         where h.subscription = claim.subscription
           and exists (select from events)
    )
    select lease.token, e.id, e.key, e.payload, e.headers, e.version, e.published_at, false
      from lease, events e
     order by e.id;
end
$$";
