//! The polls of the process, which share the policy of the real ones.

use super::{Happening, Seen, World};
use std::time::Instant;

/// The subscription's id.
const SUBSCRIPTION: i32 = 1;

/// An event of a poll.
#[derive(Debug, Clone, Copy)]
pub(super) enum PollHappens {
    Due,
    Runs {
        renews: bool,
        began: Instant,
    },
    /// `answer`: whether the log may have something, and whether the waiter row was renewed.
    Ends {
        answer: Option<(bool, bool)>,
        renews: bool,
        began: Instant,
    },
}

impl World {
    pub(super) fn renew_waiter(&mut self) {
        self.log_poll.renew(SUBSCRIPTION);
    }

    pub(super) fn plan_poll(&mut self) {
        self.happens(self.log_poll.pause(self.now), Happening::Poll(PollHappens::Due));
    }

    pub(super) fn poll_happens(&mut self, happens: PollHappens) {
        match happens {
            PollHappens::Due => match self.log_poll.begin(self.now) {
                Some(renewals) => {
                    let (latency, began) = (self.latency(), self.now);
                    let renews = renewals.contains(&SUBSCRIPTION);
                    self.happens(latency, Happening::Poll(PollHappens::Runs { renews, began }));
                }
                None => self.plan_poll(),
            },
            PollHappens::Runs { renews, began } => {
                let (before, after) = (self.fails(), self.fails());
                let answer = (!before).then(|| self.database.poll(renews, self.now)).filter(|_| !after);
                let latency = self.latency();
                self.happens(latency, Happening::Poll(PollHappens::Ends { answer, renews, began }));
            }
            PollHappens::Ends { answer: Some((unread, renewed)), renews, began } => {
                let [unread, renews, found] =
                    [unread, renews, renewed].map(|is_it| Vec::from_iter(is_it.then_some(SUBSCRIPTION)));
                let unread = !self.log_poll.succeeded(unread, renews, &found).is_empty();
                self.see(Seen::Polled { unread });
                self.dispatch.polled(unread, renewed.then_some(began));
                self.plan_poll();
            }
            PollHappens::Ends { answer: None, .. } => {
                let wait = self.random();
                let wait = self.log_poll.failed(wait, self.now);
                self.happens(wait, Happening::Poll(PollHappens::Due));
            }
        }
    }
}
