//! Where the dispatcher's handler works: a thread, and a line to the cell on it. A handler that blocks its thread for good
//! is left behind there, and another begins on a fresh one.

use super::{Brief, Dispatcher};
use crate::actors::line::Line;
use crate::actors::message::{CellCommand, Death, HandlerDied};
use crate::actors::thread::Thread;
use crate::error::error_chain;
use crate::model::outcome::Outcome;
use crate::observe::HandlerState;
use crate::policy::demand::MAX_OUTSTANDING;
use actix::{Addr, AsyncContext, Context, Handler};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long past its timeout a delivery may go unanswered before its thread is taken for blocked: the handler's side
/// answers on time, if anything runs there at all.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How long a handler without a timeout may give no sign of life before that is reported. It is left alone: who says that
/// it may take for ever may block for ever.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Workplace {
    pub(super) commands: mpsc::Sender<CellCommand>,
    /// Ends with this.
    _thread: Thread,
    /// Since when a sign of life is waited for.
    asked: Option<Instant>,
    reported: bool,
}

impl Workplace {
    /// Starts a handler on a thread.
    pub(super) fn open(brief: &Brief, thread: Thread, dispatcher: &Addr<Dispatcher>) -> Self {
        // One place for each delivery that can be out, and one for a word beside it.
        let (commands, receiver) = mpsc::channel(MAX_OUTSTANDING + 1);
        let line = Line {
            assignment: brief.assignment.clone(),
            commands: receiver,
            answers: dispatcher.clone().recipient(),
            deaths: dispatcher.clone().recipient(),
            recoveries: dispatcher.clone().recipient(),
        };
        (brief.start_cell)(&thread, line);
        Self { commands, _thread: thread, asked: None, reported: false }
    }
}

impl Dispatcher {
    pub(super) fn gave_a_sign_of_life(&mut self) {
        self.workplace.asked = None;
        if std::mem::take(&mut self.workplace.reported) {
            self.brief.gauges.is(HandlerState::Running);
        }
    }

    /// Asks a handler that has something in hand for a sign of life, and gives it up if none comes.
    pub(super) fn check_on_the_handler(&mut self, context: &mut Context<Self>) {
        let Some(asked) = self.workplace.asked else {
            if self.leases.outstanding() > 0 && self.workplace.commands.try_send(CellCommand::Ping).is_ok() {
                self.workplace.asked = Some(Instant::now());
            }
            return;
        };
        let silent = asked.elapsed();
        match self.brief.assignment.timeout {
            Some(timeout) if silent > timeout + BLOCKED_AFTER => {
                self.leave_the_handler_behind(silent, context);
            }
            None if silent > UNRESPONSIVE_AFTER && !self.workplace.reported => {
                self.workplace.reported = true;
                self.brief.gauges.is(HandlerState::Unresponsive);
                let (channel, subscription) = (self.brief.channel, self.name());
                tracing::warn!(
                    channel,
                    subscription,
                    ?silent,
                    "a handler gives no sign of life: it blocks its thread"
                );
            }
            _ => {}
        }
    }

    /// Begins with a fresh handler on a fresh thread. What the old one has begun has failed; what has not begun is given
    /// back. Should it ever answer, its answers are not waited for any more.
    fn leave_the_handler_behind(&mut self, silent: Duration, context: &mut Context<Self>) {
        let thread = match Thread::start() {
            Ok(thread) => thread,
            Err(error) => {
                tracing::error!(error = error_chain(&error), "a blocked handler cannot be replaced");
                return;
            }
        };
        let begun = std::mem::take(&mut self.brief.assignment.begun);
        let waiting = self.feed.recall();
        self.give_back(&waiting);
        self.workplace = Workplace::open(&self.brief, thread, &context.address());
        let error = format!("timed out: its handler has blocked its thread for {silent:?}");
        for (token, event) in self.leases.unanswered() {
            let outcome = if begun.contains(event) {
                Outcome::Failed { error: error.clone(), after: None }
            } else {
                Outcome::Returned
            };
            self.conclude(token, event, outcome);
        }
        let restarts = self.brief.gauges.restarts() + 1;
        self.handle(HandlerDied { death: Death::Blocked(silent), wait: Duration::ZERO, restarts }, context);
        self.settle(context);
        self.advance(context);
    }
}
