//! Suspects: deliveries whose process died while it held them. Each runs alone, so that whatever dies again is to blame.

use super::Dispatcher;
use super::intake::Step;
use actix::{AsyncContext, Context};
use std::time::{Duration, Instant};

/// How long a suspect is handled alone, and how long it waits to be. What kills a process mostly does so at once; what
/// takes longer than this must not hold up the others.
const PROBATION: Duration = Duration::from_millis(250);

/// What the dispatcher knows of suspects.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// The mailbox may have one.
    pub(super) ripe: bool,
    /// Since when one waits for the others to end, or is being handled alone.
    alone_since: Option<Instant>,
    /// A look at the end of the probation is planned.
    planned: bool,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { ripe: true, alone_since: None, planned: false }
    }
}

impl Suspicion {
    /// The process has a new id.
    pub(super) fn rejoined(&mut self) {
        self.ripe = true;
        self.alone_since = None;
    }

    /// A claim has brought a suspect, or none. Where there is one there may be more; and it is alone until it is settled,
    /// or has stood its probation.
    pub(super) fn claimed(&mut self, one: bool) {
        self.ripe |= one;
        self.alone_since = one.then(Instant::now);
    }
}

impl Dispatcher {
    /// Sees to suspects: one at a time, and nothing else of the subscription beside it, so that whatever dies with it is to
    /// blame. True while the rest must wait, which is not for ever: a handler may take hours.
    pub(super) fn sees_to_suspects(&mut self, context: &mut Context<Self>) -> bool {
        if !self.intake.suspicion.ripe && self.intake.suspicion.alone_since.is_none() {
            return false;
        }
        let since = *self.intake.suspicion.alone_since.get_or_insert_with(Instant::now);
        let patient = since.elapsed() < PROBATION;
        if !self.leases.is_empty() && patient {
            self.advance_when_patience_ends(context);
            return true;
        }
        // Either alone, or out of patience with what has been at work for long.
        self.intake.suspicion.alone_since = None;
        if !self.intake.suspicion.ripe {
            return false;
        }
        self.intake.suspicion.ripe = false;
        let (store, subscription, process) = self.speaker();
        self.work(context, async move {
            let event = store.claim_suspect(subscription, process).await?;
            Ok(Step::Suspected { event })
        });
        true
    }

    fn advance_when_patience_ends(&mut self, context: &mut Context<Self>) {
        if !self.intake.suspicion.planned {
            self.intake.suspicion.planned = true;
            context.run_later(PROBATION, |actor, context| {
                actor.intake.suspicion.planned = false;
                actor.advance(context);
            });
        }
    }
}
