//! Maintains the tables, and reports problems that prevent this.
//!
//! Owns: the times of its last reports · Receives: its timer · Sends: nothing · If it dies: restarted; its tasks are
//! idempotent, and any process may do them. It reports problems that last once more.

use crate::actors::fault_log::report_fault;
use crate::error::Error;
use crate::model::settings::SubscriptionSettings;
use crate::policy::reminder::Reminders;
use crate::policy::xids::XidHistory;
use crate::store::retention::{Removal, Unread};
use crate::store::xmin_holders::XminHolder;
use crate::store::{Store, Target};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time between two rounds. At the highest rate that was measured, the partitions that are made ahead last for most of a day.
const EVERY: Duration = Duration::from_secs(15);

/// The delay of a partition's removal after which it is reported.
const HELD_UP_LIMIT: Duration = Duration::from_secs(600);

/// The fill level from which the queue of notifications is reported.
const QUEUE_LIMIT: f64 = 0.001;

/// A subscription whose dead letters are deleted by age.
#[derive(Debug, Clone)]
pub(crate) struct Trim {
    channel: &'static str,
    subscription: Arc<str>,
    retention: Duration,
}

impl Trim {
    /// Returns the trim that a subscription asks for.
    pub(crate) fn of(settings: &SubscriptionSettings) -> Option<Self> {
        let retention = settings.dead_letter_retention?;
        Some(Self { channel: settings.channel, subscription: Arc::clone(&settings.name), retention })
    }
}

pub(crate) struct Janitor {
    store: Store,
    target: Target,
    trims: Vec<Trim>,
    /// The age from which unread events are reported.
    unread_after: Duration,
    /// The age from which transactions are reported.
    holders_after: Duration,
    xids: XidHistory,
    /// Transaction ids that were drawn within `holders_after`, as of the last round.
    recent_xids: Option<i64>,
    unread_reported: Reminders<(String, String)>,
    holders_reported: Reminders<(String, Option<String>, Option<i32>)>,
    held_up_reported: Reminders<String>,
    queue_reported: Reminders<()>,
    /// The statement that another transaction delays, and the time at which the delay was first seen.
    held_up: Option<(String, Instant)>,
    removing: bool,
}

/// The findings of one round.
struct Findings {
    queue_used: Result<f64, Error>,
    suspended: Result<Vec<Unread>, Error>,
    unread: Result<Vec<Unread>, Error>,
    holders: Result<Vec<XminHolder>, Error>,
    next_xid: Result<i64, Error>,
    removal_due: Result<bool, Error>,
}

impl Janitor {
    pub(crate) fn new(
        store: Store,
        target: Target,
        trims: Vec<Trim>,
        unread_after: Duration,
        holders_after: Duration,
    ) -> Self {
        Self {
            store,
            target,
            trims,
            unread_after,
            holders_after,
            xids: XidHistory::new(holders_after),
            recent_xids: None,
            unread_reported: Reminders::default(),
            holders_reported: Reminders::default(),
            held_up_reported: Reminders::default(),
            queue_reported: Reminders::default(),
            held_up: None,
            removing: false,
        }
    }

    fn clean(&mut self, context: &mut Context<Self>) {
        let (store, trims) = (self.store.clone(), self.trims.clone());
        let (unread_after, holders_after, recent_xids) =
            (self.unread_after, self.holders_after, self.recent_xids);
        let cleaning = async move {
            // This comes first, because a full queue makes the other tasks fail too.
            let queue_used = store.make_room_for_notifications().await;
            tidy(&store).await;
            trim(&store, &trims).await;
            Findings {
                queue_used,
                suspended: store.suspend_unread().await,
                unread: store.unread(unread_after).await,
                holders: store.xmin_holders(holders_after, recent_xids).await,
                next_xid: store.next_xid().await,
                removal_due: store.is_removal_due().await,
            }
        };
        context.spawn(cleaning.into_actor(self).map(Self::cleaned));
    }

    fn cleaned(findings: Findings, actor: &mut Self, context: &mut Context<Self>) {
        let Findings { queue_used, suspended, unread, holders, next_xid, removal_due } = findings;
        if let Some(used) = result_of("make room for notifications", queue_used) {
            actor.report_queue(used);
        }
        for suspended in result_of("suspend unread subscriptions", suspended).unwrap_or_default() {
            let Unread { channel, subscription, event, unread_for, .. } = suspended;
            tracing::error!(
                channel,
                subscription,
                event,
                ?unread_for,
                "suspended: nobody has read this subscription's events for longer than its limit"
            );
        }
        if let Some(unread) = result_of("find unread subscriptions", unread) {
            actor.report_unread(unread);
        }
        if let Some(holders) = result_of("find old transactions", holders) {
            actor.report_xmin_holders(holders);
        }
        if let Some(next_xid) = result_of("find old transactions", next_xid) {
            actor.recent_xids = actor.xids.note(Instant::now(), next_xid);
        }
        if result_of("find expired partitions", removal_due).unwrap_or_default() && !actor.removing {
            actor.remove(context);
        }
        context.run_later(EVERY, Self::clean);
    }

    fn report_unread(&mut self, unread: Vec<Unread>) {
        let key = |found: &Unread| {
            ((found.channel.clone(), found.subscription.clone()), found.unread_for.as_secs_f64())
        };
        let due = self.unread_reported.due(unread.iter().map(key).collect());
        for (Unread { channel, subscription, event, unread_for, limit }, _) in
            unread.into_iter().zip(due).filter(|(_, due)| *due)
        {
            tracing::warn!(
                channel,
                subscription,
                event,
                ?unread_for,
                suspended_after = ?limit,
                "nobody reads this subscription's events, and the log must keep them"
            );
        }
    }

    fn report_queue(&mut self, used: f64) {
        let filled = (used >= QUEUE_LIMIT).then_some(((), used));
        if self.queue_reported.due(filled.into_iter().collect()).contains(&true) {
            tracing::warn!(
                used,
                "a session that listens stays in its transaction: once the queue of notifications is full, nobody can publish"
            );
        }
    }

    fn report_xmin_holders(&mut self, holders: Vec<XminHolder>) {
        // A holder without an age is measured by the transaction ids that it is behind.
        let size = |holder: &XminHolder| {
            holder.age.map_or(holder.xids.unwrap_or_default() as f64, |age| age.as_secs_f64())
        };
        let key = |holder: &XminHolder| {
            ((holder.kind.clone(), holder.application.clone(), holder.pid), size(holder))
        };
        let due = self.holders_reported.due(holders.iter().map(key).collect());
        for (XminHolder { kind, owner, application, client, database, pid, state, age, xids }, _) in
            holders.into_iter().zip(due).filter(|(_, due)| *due)
        {
            tracing::warn!(
                kind,
                owner,
                application,
                client,
                database,
                pid,
                state,
                ?age,
                xids,
                "an old transaction keeps the database from cleaning up"
            );
        }
    }

    /// Removes partitions. This runs beside the other tasks, because it may have to wait for other transactions.
    fn remove(&mut self, context: &mut Context<Self>) {
        self.removing = true;
        let target = self.target.clone();
        let removing = async move { target.remove_partitions().await };
        context.spawn(removing.into_actor(self).map(|removal, actor, _| actor.removed(removal)));
    }

    fn removed(&mut self, removal: Result<Removal, Error>) {
        self.removing = false;
        let Some(Removal { done, held_up }) = result_of("remove partitions", removal) else { return };
        for statement in done {
            tracing::info!(statement, "a partition is removed");
        }
        let now = Instant::now();
        let before = self.held_up.take();
        self.held_up = held_up.map(|statement| match before {
            Some((same, since)) if same == statement => (statement, since),
            _ => (statement, now),
        });
        let long = self.held_up.iter().filter(|(_, since)| now.duration_since(*since) >= HELD_UP_LIMIT);
        let long: Vec<_> = long
            .map(|(held_up, since)| (held_up.clone(), now.duration_since(*since).as_secs_f64()))
            .collect();
        if self.held_up_reported.due(long).contains(&true)
            && let Some((statement, since)) = &self.held_up
        {
            let held_up_for = now.duration_since(*since);
            tracing::warn!(statement, ?held_up_for, "a partition cannot be removed: a transaction uses it");
        }
    }
}

/// Does the tasks of which only a count is reported.
async fn tidy(store: &Store) {
    report("make partitions", store.ensure_partitions().await);
    report("close partitions", store.close_partitions().await);
    report("skip ids", store.skip_ids().await);
    report("move idle cursors on", store.advance_idle_cursors().await);
    report("take over stray leases", store.reclaim_strays().await);
    report("forget deduplication keys", store.forget_dedupe_keys().await);
}

/// Deletes dead letters by age. A purge or a redrive at the same time costs nothing: each dead letter is deleted or moved once.
async fn trim(store: &Store, trims: &[Trim]) {
    for Trim { channel, subscription, retention } in trims {
        report("trim dead letters", store.trim_dead_letters(channel, subscription, *retention).await);
    }
}

fn report(task: &'static str, outcome: Result<i64, Error>) {
    if let Some(count) = result_of(task, outcome).filter(|&count| count > 0) {
        tracing::info!(task, count, "the janitor has done a task");
    }
}

/// Returns the result of a task, or reports its error.
fn result_of<T>(task: &'static str, outcome: Result<T, Error>) -> Option<T> {
    outcome
        .inspect_err(|error| {
            report_fault!("the janitor could not do its work", task, error, task);
        })
        .ok()
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.clean(context);
    }
}

impl Supervised for Janitor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.removing = false;
    }
}
