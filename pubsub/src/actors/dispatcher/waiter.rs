//! The dispatcher's waiter row: asleep, awake, or none. The protocol is in `migrations/functions/bell.sql`.

use super::Dispatcher;
use crate::error::error_chain;
use crate::store::wait::AWAKE_TTL;
use actix::{ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use std::time::{Duration, Instant};

/// How long a handler may be full before its process passes the bell on: a handler that is about to have room again need
/// not wake another process.
const PASS_AFTER: Duration = Duration::from_millis(5);

/// What publishers know of this dispatcher.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Row {
    /// Nothing: whoever else sleeps is rung for.
    #[default]
    None,
    /// Asleep since then: it may be rung for.
    Asleep(Instant),
    /// Awake since then: nobody need be rung for.
    Awake(Instant),
}

/// The row, and what is under way with it.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    pub(super) row: Row,
    /// The row is being taken away; until it is, none may be written.
    pub(super) leaving: bool,
    full: Full,
}

/// Whether the log cannot be claimed from, although publishers rely on it.
#[derive(Debug, Default)]
enum Full {
    #[default]
    No,
    /// For a moment; this is the timer of [`PASS_AFTER`].
    Briefly(SpawnHandle),
    Long,
}

impl Waiter {
    /// The row is gone, or stands under a name that is ours no more.
    pub(super) fn lost(&mut self) {
        self.row = Row::None;
    }

    /// Whether the next claim from the log has to say, or say again, that we are awake.
    pub(super) fn must_say_awake(&self) -> bool {
        match self.row {
            Row::None => false,
            Row::Asleep(_) => true,
            Row::Awake(since) => since.elapsed() > AWAKE_TTL / 2,
        }
    }
}

impl Dispatcher {
    /// The log cannot be claimed from now. If publishers rely on us, and it stays like that, they must rely on another.
    pub(super) fn cannot_poll_log(&mut self, context: &mut Context<Self>) {
        match (self.intake.waiter.row, &self.intake.waiter.full) {
            (Row::None, _) | (_, Full::Briefly(_)) => {}
            // Nobody has rung.
            (Row::Asleep(_), _) if !self.intake.is_log_ready() => {}
            (_, Full::No) => {
                let timer = context.run_later(PASS_AFTER, |actor, context| {
                    actor.intake.waiter.full = Full::Long;
                    actor.advance(context);
                });
                self.intake.waiter.full = Full::Briefly(timer);
            }
            (_, Full::Long) => self.remove_waiter(context),
        }
    }

    /// The log is claimed from.
    pub(super) fn can_poll_log(&mut self, context: &mut Context<Self>) {
        if let Full::Briefly(timer) = std::mem::take(&mut self.intake.waiter.full) {
            context.cancel_future(timer);
        }
    }

    /// Takes the row away, and passes the bell on.
    pub(super) fn remove_waiter(&mut self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let waiter = &mut self.intake.waiter;
        if waiter.leaving {
            return;
        }
        waiter.row = Row::None;
        waiter.full = Full::No;
        waiter.leaving = true;
        let leaving = async move { store.stop_waiting(subscription, process).await };
        context.spawn(leaving.into_actor(self).map(|left, actor, context| {
            if let Err(error) = left {
                // It expires by itself.
                tracing::debug!(error = error_chain(&error), "a waiter row stays until it expires");
            }
            actor.intake.waiter.leaving = false;
            actor.advance(context);
        }));
    }
}
