//! What the dispatcher does with the answers: judges each, and writes them lease by lease.

use super::Dispatcher;
use crate::actors::message::{Answer, MailboxChanged};
use crate::error::{Error, error_chain};
use crate::model::backoff::Backoff;
use crate::model::event::{EventId, LeaseToken};
use crate::model::outcome::Outcome;
use crate::policy::disposition::{Action, decide, starts_again};
use crate::policy::leases::{LINGER, Settlement};
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use std::time::{Duration, Instant};

/// Between two tries to settle while the database fails us.
const SETTLE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), 2.0, Duration::from_secs(5), 0.5);

impl Dispatcher {
    pub(super) fn take_answer(&mut self, answer: Answer) {
        let Answer { token, event, outcome } = answer;
        match &outcome {
            Outcome::Done => self.config.gauges.delivery_handled(),
            Outcome::Failed { .. } | Outcome::Panicked(_) => self.config.gauges.delivery_failed(),
            Outcome::Snoozed(_)
            | Outcome::Rejected { .. }
            | Outcome::Undecodable { .. }
            | Outcome::TooNew { .. }
            | Outcome::Returned => {}
        }
        self.conclude(token, event, outcome);
    }

    /// Decides what becomes of a delivery, and puts it up for settlement.
    pub(super) fn conclude(&mut self, token: LeaseToken, event: EventId, outcome: Outcome) {
        let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
        let Some(start) = self.leases.start(token, event) else {
            self.ready.ended(token, event, true);
            tracing::debug!(channel, subscription, %event, %token, "an answer came after its lease was lost");
            return;
        };
        let attempt = start.attempt;
        let decided = decide(event, attempt, outcome, &self.config.settings.backoff, fastrand::f64());
        match &decided {
            None => tracing::debug!(channel, subscription, %event, attempt, "handled"),
            Some(disposition) => {
                let (error, delay) = (disposition.error.as_deref().unwrap_or_default(), disposition.delay);
                match disposition.action {
                    Action::Return => {
                        tracing::debug!(channel, subscription, %event, attempt, "given back unstarted");
                    }
                    Action::TooNew => tracing::debug!(channel, subscription, %event, error, "too new"),
                    Action::Snooze => {
                        tracing::debug!(channel, subscription, %event, attempt, ?delay, "snoozed");
                    }
                    _ if starts_again(disposition.action, start, &self.config.settings) => {
                        tracing::warn!(channel, subscription, %event, attempt, error, ?delay, "failed; will be retried");
                    }
                    _ => {
                        self.config.gauges.delivery_given_up();
                        tracing::error!(channel, subscription, %event, attempt, error, "given up: a dead letter");
                    }
                }
            }
        }
        let done = decided.is_none();
        self.leases.answer(token, event, decided, Instant::now());
        let behind = self.ready.ended(token, event, done);
        self.give_back(&behind);
    }

    /// Writes what is ready, and plans to look again while answers linger. They do not if the handler could have more to do
    /// once they are written.
    pub(super) fn settle(&mut self, context: &mut Context<Self>) {
        let (now, waiting) = (Instant::now(), self.ready.len());
        if waiting > 0 && waiting == self.leases.outstanding() {
            self.leases.hurry(now);
        }
        for settlement in self.leases.ready(now) {
            self.write(settlement, context);
        }
        if self.leases.lingers() && !self.settle_planned {
            self.settle_later(LINGER, context);
        }
    }

    fn settle_later(&mut self, wait: Duration, context: &mut Context<Self>) {
        self.settle_planned = true;
        context.run_later(wait, |actor, context| {
            actor.settle_planned = false;
            actor.settle(context);
        });
    }

    fn write(&self, settlement: Settlement, context: &mut Context<Self>) {
        let (store, process) = (self.config.store.clone(), self.config.process.get());
        let writing = async move {
            let accepted = store
                .settle(process, settlement.token, settlement.acknowledged(), &settlement.dispositions)
                .await;
            (settlement, accepted)
        };
        context.spawn(writing.into_actor(self).map(|(settlement, accepted), actor, context| {
            actor.written(settlement, accepted, context);
        }));
    }

    fn written(
        &mut self,
        settlement: Settlement,
        accepted: Result<bool, Error>,
        context: &mut Context<Self>,
    ) {
        let (channel, subscription, token) =
            (self.config.settings.channel, &*self.config.settings.name, settlement.token);
        match accepted {
            Ok(accepted) => {
                self.settle_failures = 0;
                let news = self.leases.settled(&settlement, accepted);
                if !accepted {
                    self.ready.lost(token);
                }
                let over = !accepted || settlement.acknowledged().is_none();
                if self.ready.settled(&settlement, over, self.intake.is_working()) {
                    self.intake.mailbox_ready(true, true);
                }
                if !accepted && news {
                    tracing::warn!(channel, subscription, %token, "an answer was refused: its lease was taken over");
                }
                if let Some(after) = settlement.next_due() {
                    self.config.scheduler.do_send(MailboxChanged { after });
                }
                self.release_ready();
                self.settle(context);
            }
            Err(error) => {
                self.settle_failures = self.settle_failures.saturating_add(1);
                let wait = SETTLE_BACKOFF.delay(self.settle_failures, fastrand::f64());
                tracing::warn!(
                    channel, subscription, %token, error = error_chain(&error), ?wait, "answers cannot be settled"
                );
                self.leases.failed(settlement, Instant::now());
                // Not at once: `settle_planned` keeps further answers from hammering a database that is down.
                self.settle_later(wait, context);
            }
        }
        self.advance(context);
    }
}
