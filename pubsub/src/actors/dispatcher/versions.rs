//! Events of a version that this process does not know, published by newer ones: they are left to those.

use super::Dispatcher;
use crate::model::event::ClaimedEvent;
use crate::model::outcome::Outcome;

impl Dispatcher {
    /// Lines up what the handler can be given; what is too new goes to the mailbox, for a process that knows it. In order:
    /// what comes before it goes on, and what comes behind it, of its key, waits behind it.
    pub(super) fn sort_out_versions(&mut self, events: Vec<ClaimedEvent>, from_mailbox: bool) {
        let mut known = Vec::with_capacity(events.len());
        let mut too_new = Vec::new();
        for event in events {
            if event.version <= self.config.settings.version {
                known.push(event);
                continue;
            }
            self.line_up(std::mem::take(&mut known), from_mailbox);
            let outcome = Outcome::TooNew { version: event.version, known: self.config.settings.version };
            self.ready.returned(&event);
            self.conclude(event.token, event.id, outcome);
            too_new.push(event.version);
        }
        self.line_up(known, from_mailbox);
        self.tell_of(&too_new);
    }

    fn line_up(&mut self, events: Vec<ClaimedEvent>, from_mailbox: bool) {
        let parked = self.ready.push(events, self.intake.start_limit, from_mailbox);
        self.give_back(&parked);
    }

    /// Warns of each version once: while a new release is rolled out there may be many events of it.
    fn tell_of(&mut self, versions: &[i32]) {
        for &version in versions {
            if self.too_new.insert(version) {
                tracing::warn!(
                    channel = self.config.settings.channel,
                    subscription = self.name(),
                    version,
                    known = self.config.settings.version,
                    events = versions.iter().filter(|other| **other == version).count(),
                    "events of a newer version wait in the mailbox for a process that knows it; said once"
                );
            }
        }
    }
}
