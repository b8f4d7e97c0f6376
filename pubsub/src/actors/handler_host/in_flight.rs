//! A handler's workbench: what waits for it, what it has at work, what it has answered.
//!
//! It outlives the handler: deliveries that have not begun wait here for the next one.

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

/// Why a handler must be replaced, although its context knows nothing of it.
pub(super) enum ReplaceReason {
    /// A delivery panicked.
    Panicked(Panic),
    /// An atomic response took longer than this, and nothing else can be handled while it does.
    TimedOut(Duration),
}

pub(super) struct InFlight {
    pub(super) config: HandlerConfig,
    commands: mpsc::Receiver<HostCommand>,
    dispatcher: Recipient<Answers>,
    pub(super) queue: VecDeque<ClaimedEvent>,
    running: FuturesUnordered<RunningDelivery>,
    answers: Vec<Answer>,
    /// Since when something is at work, and not yet reported as busy time.
    busy_since: Option<Instant>,
    busy: Duration,
    peak: usize,
    /// The highest peak that the dispatcher has been told.
    reported_peak: usize,
    /// Which handler works here: the first is 0, and each of its deaths begins the next.
    generation: u64,
    /// Why the last handler died, if nobody could say which delivery it was: all that it had at work are suspects.
    unexplained: Option<Panic>,
    /// Why the handler must be replaced.
    pub(super) broken: Option<ReplaceReason>,
    /// Futures of the actor whose deliveries ran out of time.
    pub(super) to_cancel: Vec<SpawnHandle>,
    /// The dispatcher wants a sign of life.
    asked: bool,
    /// The pump stopped before the queue was empty, to let others run.
    pub(super) yielded: bool,
    /// The runtime is stopping.
    pub(super) closed: bool,
    /// Who waits for the handler to have stopped: told when the in_flight, and with it the cell, is dropped.
    waiting_for_the_end: Vec<oneshot::Sender<()>>,
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
            busy_since: None,
            busy: Duration::ZERO,
            peak: 0,
            reported_peak: 0,
            generation: 0,
            unexplained: None,
            broken: None,
            to_cancel: Vec::new(),
            asked: false,
            yielded: false,
            closed: false,
            waiting_for_the_end: Vec::new(),
        }
    }

    /// Takes in what the dispatcher sent.
    pub(super) fn poll_commands(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(command) = self.commands.poll_recv(context) {
            match command {
                Some(HostCommand::Deliver(events)) => self.queue.extend(events),
                Some(HostCommand::Recall) => self.give_back(),
                Some(HostCommand::Ping) => self.asked = true,
                Some(HostCommand::Stop(waiting)) => {
                    self.waiting_for_the_end = waiting;
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

    /// Takes in what the handler has answered.
    pub(super) fn poll_running(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(context) {
            let (token, event) = (ended.token, ended.event);
            let outcome = match ended.timed_out {
                Some(timed_out) => self.cancel(ended.generation, &timed_out),
                None => self.judge(ended.generation, ended.panic, ended.handled),
            };
            self.answer(token, event, outcome);
        }
        if self.running.is_empty()
            && let Some(since) = self.busy_since.take()
        {
            self.busy += since.elapsed();
        }
    }

    /// What becomes of a delivery that ran out of time. Its tasks are gone already.
    fn cancel(&mut self, generation: u64, timed_out: &TimedOut) -> Outcome {
        if generation == self.generation {
            if timed_out.atomic {
                self.broken.get_or_insert(ReplaceReason::TimedOut(timed_out.after));
            } else {
                self.to_cancel.extend(timed_out.future);
            }
        }
        Outcome::Failed { error: format!("timed out after {:?}", timed_out.after), after: None }
    }

    /// What became of a delivery that ended. Without an answer there was a panic, or the handler died for another reason,
    /// or it let the delivery fall.
    fn judge(&mut self, generation: u64, panic: Option<Panic>, handled: Option<Handled>) -> Outcome {
        if let Some(handled) = handled {
            return handled.into();
        }
        let current = generation == self.generation;
        if let Some(panic) = panic.or_else(|| current.then(panics::take_oldest).flatten()) {
            if current {
                self.broken = Some(ReplaceReason::Panicked(panic.clone()));
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

    /// Whether the handler may begin another delivery.
    pub(super) fn has_free_slot(&self) -> bool {
        self.running.len() < self.config.settings.concurrency
    }

    /// Puts a begun delivery on the in_flight.
    pub(super) fn begin(&mut self, mut work: RunningDelivery) {
        self.peak = self.peak.max(self.running.len() + 1);
        // A handler that answered at once needs no place among those that are waited for.
        match work.answer.try_recv() {
            Ok(handled) => self.answer(work.token, work.event, handled.into()),
            Err(_) => self.running.push(work),
        }
    }

    pub(super) fn answer(&mut self, token: LeaseToken, event: EventId, outcome: Outcome) {
        if self.config.settings.timeout.is_some() {
            self.config.started.finished(event);
        }
        self.answers.push(Answer { token, event, outcome });
    }

    /// A delivery is about to begin.
    pub(super) fn beginning(&mut self, event: EventId, now: Instant) {
        self.busy_since.get_or_insert(now);
        if self.config.settings.timeout.is_some() {
            self.config.started.started(event);
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The handler has died. `unexplained` is its panic, if no delivery has testified to it.
    pub(super) fn next_generation(&mut self, unexplained: Option<Panic>) {
        self.generation += 1;
        self.unexplained = unexplained;
        self.broken = None;
        self.to_cancel.clear();
        self.yielded = false;
    }

    /// Gives back what has not begun.
    pub(super) fn give_back(&mut self) {
        for event in std::mem::take(&mut self.queue) {
            self.answer(event.token, event.id, Outcome::Returned);
        }
    }

    /// Sends the answers to the dispatcher; also none, if it has asked, or more is at work at once than it knows.
    pub(super) fn flush(&mut self) {
        if self.answers.is_empty() && self.peak <= self.reported_peak && !std::mem::take(&mut self.asked) {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        let busy = if answers.is_empty() { Duration::ZERO } else { self.take_busy() };
        self.reported_peak = self.peak;
        self.dispatcher.do_send(Answers { answers, busy, peak: self.peak });
    }

    /// The time at work since it was last taken.
    fn take_busy(&mut self) -> Duration {
        if let Some(since) = &mut self.busy_since {
            let now = Instant::now();
            self.busy += now.saturating_duration_since(*since);
            *since = now;
        }
        std::mem::take(&mut self.busy)
    }
}
