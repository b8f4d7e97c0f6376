//! How claimed events get to the handler, or back.

use super::Dispatcher;
use crate::actors::message::HostCommand;
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
        if self.draining() || self.quarantined {
            return self.give_back(&events);
        }
        self.sort_out_versions(events, from_mailbox);
        self.release_ready();
    }

    /// Hands the cell what may begin. What it cannot take, which only a dying arbiter cannot, is given back.
    pub(super) fn release_ready(&mut self) {
        let with_the_handler = self.leases.outstanding() - self.ready.len();
        let events = self.ready.release(with_the_handler + self.leases.unsettled());
        if events.is_empty() {
            return;
        }
        if let Err(refused) = self.handler_thread.commands.try_send(HostCommand::Deliver(events)) {
            let (TrySendError::Full(command) | TrySendError::Closed(command)) = refused;
            if let HostCommand::Deliver(events) = command {
                self.give_back(&events);
            }
        }
    }

    pub(super) fn give_back(&mut self, events: &[ClaimedEvent]) {
        for event in events {
            self.ready.returned(event);
            self.conclude(event.token, event.id, Outcome::Returned);
        }
    }
}
