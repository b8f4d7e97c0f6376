//! The deliveries of a handler: waiting, running and answered ones.
//!
//! They outlive the handler. Deliveries that have not started wait here for the next handler.

use super::running::{RunningDelivery, TimedOut};
use crate::actors::handler_link::HandlerConfig;
use crate::actors::message::{Answers, HostCommand};
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::model::failure::Handled;
use crate::model::outcome::{Answer, Outcome};
use crate::panics::{self, Panic};
use actix::{Recipient, SpawnHandle};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// The reason to replace a handler whose context has not ended.
pub(super) enum ReplaceReason {
    /// A delivery panicked.
    Panicked(Panic),
    /// An atomic response took longer than this timeout. The handler can take no other delivery until it ends.
    TimedOut(Duration),
}

pub(super) struct InFlight {
    pub(super) config: HandlerConfig,
    commands: mpsc::Receiver<HostCommand>,
    dispatcher: Recipient<Answers>,
    pub(super) queue: VecDeque<ClaimedEvent>,
    running: FuturesUnordered<RunningDelivery>,
    answers: Vec<Answer>,
    /// The deliveries that are done if the transaction in which their handler settles them was committed.
    unconfirmed: Vec<(LeaseToken, EventId)>,
    /// The start of the running time that is not yet added to `busy`; `None` while no delivery runs.
    busy_since: Option<Instant>,
    busy: Duration,
    peak: usize,
    /// The highest peak that was reported to the dispatcher.
    reported_peak: usize,
    /// The number of handlers that have died before the present one.
    generation: u64,
    /// The panic of the last handler, if no delivery reported it. Each delivery that ran then may have caused it.
    unexplained: Option<Panic>,
    /// The reason to replace the handler, if there is one.
    pub(super) replace: Option<ReplaceReason>,
    /// The actor's futures for deliveries that have timed out.
    pub(super) to_cancel: Vec<SpawnHandle>,
    /// Whether the dispatcher waits for a response.
    pinged: bool,
    /// Whether the pump stopped before the queue was empty, to let other tasks run.
    pub(super) yielded: bool,
    /// Whether the runtime is stopping.
    pub(super) closed: bool,
    /// The senders of a stop command. They are dropped with the host, which shows the receivers that the handler has stopped.
    stopped: Vec<oneshot::Sender<()>>,
}

impl InFlight {
    pub(super) fn new(
        config: HandlerConfig,
        commands: mpsc::Receiver<HostCommand>,
        dispatcher: Recipient<Answers>,
    ) -> Self {
        Self {
            config,
            commands,
            dispatcher,
            queue: VecDeque::new(),
            running: FuturesUnordered::new(),
            answers: Vec::new(),
            unconfirmed: Vec::new(),
            busy_since: None,
            busy: Duration::ZERO,
            peak: 0,
            reported_peak: 0,
            generation: 0,
            unexplained: None,
            replace: None,
            to_cancel: Vec::new(),
            pinged: false,
            yielded: false,
            closed: false,
            stopped: Vec::new(),
        }
    }

    /// Carries out the dispatcher's commands.
    pub(super) fn poll_commands(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(command) = self.commands.poll_recv(context) {
            match command {
                Some(HostCommand::Deliver(events)) => self.queue.extend(events),
                Some(HostCommand::Recall) => self.give_back(),
                Some(HostCommand::Ping) => self.pinged = true,
                Some(HostCommand::Stop(stopped)) => {
                    self.stopped = stopped;
                    self.closed = true;
                    return;
                }
                None => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Collects the deliveries that have finished.
    pub(super) fn poll_running(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(finished)) = self.running.poll_next_unpin(context) {
            let (token, event, settles_in_transaction) =
                (finished.token, finished.event, finished.settles_in_transaction);
            let outcome = match finished.timed_out {
                Some(timed_out) => self.cancel(finished.generation, &timed_out),
                None => self.outcome(finished.generation, finished.panic, finished.handled),
            };
            self.conclude(token, event, outcome, settles_in_transaction);
        }
        if self.running.is_empty()
            && let Some(since) = self.busy_since.take()
        {
            self.busy += since.elapsed();
        }
    }

    /// Cancels a delivery that has timed out. Its tasks have been dropped already.
    fn cancel(&mut self, generation: u64, timed_out: &TimedOut) -> Outcome {
        if generation == self.generation {
            if timed_out.atomic {
                self.replace.get_or_insert(ReplaceReason::TimedOut(timed_out.after));
            } else {
                self.to_cancel.extend(timed_out.future);
            }
        }
        Outcome::Failed { error: format!("timed out after {:?}", timed_out.after), after: None }
    }

    /// Returns the outcome of a delivery that has finished. Without an answer, the delivery panicked, the handler died, or the
    /// handler dropped the delivery.
    fn outcome(&mut self, generation: u64, panic: Option<Panic>, handled: Option<Handled>) -> Outcome {
        if let Some(handled) = handled {
            return handled.into();
        }
        let current = generation == self.generation;
        let unseen = || (current && panics::hook_was_replaced()).then(Panic::unseen);
        if let Some(panic) = panic.or_else(|| current.then(panics::take_oldest).flatten()).or_else(unseen) {
            if current {
                self.replace = Some(ReplaceReason::Panicked(panic.clone()));
            }
            return Outcome::Panicked(panic);
        }
        if current {
            return Outcome::Failed {
                error: "the handler dropped the delivery without an answer".to_owned(),
                after: None,
            };
        }
        match &self.unexplained {
            Some(panic) => Outcome::Panicked(panic.clone()),
            None => Outcome::Failed {
                error: "interrupted: its handler was restarted".to_owned(),
                after: Some(Duration::ZERO),
            },
        }
    }

    /// Whether the handler may start another delivery.
    pub(super) fn has_free_slot(&self) -> bool {
        self.running.len() < self.config.settings.concurrency
    }

    /// Takes in a delivery that was started.
    pub(super) fn keep(&mut self, mut delivery: RunningDelivery) {
        self.peak = self.peak.max(self.running.len() + 1);
        // There is no need to wait for a delivery that was answered at once.
        match delivery.answer.try_recv() {
            Ok(handled) => {
                let settles_in_transaction = delivery.report.settles_in_transaction();
                self.conclude(delivery.token, delivery.event, handled.into(), settles_in_transaction);
            }
            Err(_) => self.running.push(delivery),
        }
    }

    /// Reports how a delivery has ended. If its handler is done, and settles it in a transaction of its own, it is still to be
    /// asked whether that was committed.
    fn conclude(
        &mut self,
        token: LeaseToken,
        event: EventId,
        outcome: Outcome,
        settles_in_transaction: bool,
    ) {
        if settles_in_transaction && outcome == Outcome::Done {
            self.config.started.finished(event);
            self.unconfirmed.push((token, event));
        } else {
            self.answer(token, event, outcome);
        }
    }

    pub(super) fn answer(&mut self, token: LeaseToken, event: EventId, outcome: Outcome) {
        self.config.started.finished(event);
        self.answers.push(Answer { token, event, outcome });
    }

    /// Notes that a delivery is about to start.
    pub(super) fn starting(&mut self, event: EventId) {
        self.busy_since.get_or_insert_with(Instant::now);
        self.config.started.started(event);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes that the handler has died. `unexplained` is its panic, if no delivery reported it.
    pub(super) fn next_generation(&mut self, unexplained: Option<Panic>) {
        self.generation += 1;
        self.unexplained = unexplained;
        self.replace = None;
        self.to_cancel.clear();
        self.yielded = false;
    }

    /// Returns the deliveries that have not started to the dispatcher.
    pub(super) fn give_back(&mut self) {
        for event in std::mem::take(&mut self.queue) {
            self.answer(event.token, event.id, Outcome::Returned);
        }
    }

    /// Sends the answers to the dispatcher. The message is sent without answers too, if the dispatcher waits for a response or
    /// the peak has risen.
    pub(super) fn flush(&mut self) {
        let none = self.answers.is_empty() && self.unconfirmed.is_empty();
        if none && self.peak <= self.reported_peak && !std::mem::take(&mut self.pinged) {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        let unconfirmed = std::mem::take(&mut self.unconfirmed);
        let busy = if none { Duration::ZERO } else { self.take_busy() };
        self.reported_peak = self.peak;
        self.dispatcher.do_send(Answers { answers, unconfirmed, busy, peak: self.peak });
    }

    /// Returns the time for which deliveries ran since the last call.
    fn take_busy(&mut self) -> Duration {
        if let Some(since) = &mut self.busy_since {
            let now = Instant::now();
            self.busy += now.saturating_duration_since(*since);
            *since = now;
        }
        std::mem::take(&mut self.busy)
    }
}
