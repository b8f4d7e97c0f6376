//! How claimed events get to the handler, or back.

use super::Dispatcher;
use crate::actors::message::CellCommand;
use crate::model::event::{ClaimedEvent, Start};
use crate::model::outcome::Outcome;
use tokio::sync::mpsc::error::TrySendError;

impl Dispatcher {
    /// Takes in what a claim has brought.
    pub(super) fn deliver(&mut self, events: Vec<ClaimedEvent>, from_mailbox: bool) {
        for event in &events {
            let start = Start { attempt: event.attempt, panics: event.panics };
            self.leases.hold(event.token, event.id, start);
        }
        if self.draining() || self.suspended {
            return self.give_back(&events);
        }
        self.sort_out_versions(events, from_mailbox);
        self.feed_the_handler();
    }

    /// Hands the cell what may begin. What it cannot take, which only a dying arbiter cannot, is given back.
    pub(super) fn feed_the_handler(&mut self) {
        let with_the_handler = self.leases.outstanding() - self.feed.len();
        let events = self.feed.release(with_the_handler + self.leases.unsettled());
        if events.is_empty() {
            return;
        }
        if let Err(refused) = self.workplace.commands.try_send(CellCommand::Deliver(events)) {
            let (TrySendError::Full(command) | TrySendError::Closed(command)) = refused;
            if let CellCommand::Deliver(events) = command {
                self.give_back(&events);
            }
        }
    }

    pub(super) fn give_back(&mut self, events: &[ClaimedEvent]) {
        for event in events {
            self.feed.returned(event);
            self.conclude(event.token, event.id, Outcome::Returned);
        }
    }
}
