//! The figures at the end of the demo, and a check that each part of the story happened.

use crate::failed::Failed;
use crate::screen;
use pubsub::status::HandlerStatus;

pub(crate) struct Summary {
    published: i64,
    redriven: u64,
    handlers: Vec<HandlerStatus>,
}

impl Summary {
    pub(crate) fn new(published: i64, redriven: u64, handlers: Vec<HandlerStatus>) -> Self {
        Self { published, redriven, handlers }
    }

    /// Shows the figures.
    ///
    /// # Errors
    /// If a part of the story did not happen.
    pub(crate) fn show(&self) -> Result<(), Failed> {
        let sum = |figure: fn(&HandlerStatus) -> u64| self.handlers.iter().map(figure).sum::<u64>();
        let (handled, dead, restarts) = (sum(|h| h.handled), sum(|h| h.dead), sum(|h| h.restarts));
        // The last failure of a dead letter is followed by no retry.
        let retried = sum(|h| h.failed).saturating_sub(dead);
        let published = u64::try_from(self.published).unwrap_or_default();

        screen::headline("Summary");
        let figures = [
            ("published", published, "events"),
            ("handled", handled, "deliveries; an event with two subscriptions is two"),
            ("retried", retried, "attempts, after a failure or a panic"),
            ("restarted", restarts, "handler, after a panic"),
            ("dead letters", dead, "out of attempts"),
            ("redriven", self.redriven, "dead letter, then handled"),
        ];
        for (name, figure, unit) in figures {
            screen::say(name, &format!("{figure:>3}  {unit}"));
        }
        match figures.iter().find(|(_, figure, _)| *figure == 0) {
            None => Ok(()),
            Some((name, ..)) => Err(format!("the demo is incomplete: its figure of `{name}` is 0").into()),
        }
    }
}
