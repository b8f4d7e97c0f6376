//! Suspects: deliveries whose process died while it held them. Each runs alone, so that whatever dies again is to blame.

use super::Dispatcher;
use super::intake::Step;
use crate::model::event::ClaimedEvent;
use actix::{AsyncContext, Context, SpawnHandle};
use std::time::{Duration, Instant};

/// How long a suspect waits until it can be alone.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a suspect is handled alone. What kills a process mostly does so at once; what takes longer than this must not
/// hold up the others.
const PROBATION: Duration = Duration::from_millis(100);

/// The same for one whose process died twice, which hardly any innocent one's does: its neighbours were in both deaths with
/// it, and must not be in a third.
const LONG_PROBATION: Duration = Duration::from_secs(5);

/// What the dispatcher knows of suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// The mailbox may have one.
    pub(super) ready: bool,
    /// Until when one waits for the others to end, or is handled alone.
    patient_until: Option<Instant>,
    /// The look that is planned for then.
    planned: Option<(Instant, SpawnHandle)>,
}

impl Default for Suspects {
    fn default() -> Self {
        Self { ready: true, patient_until: None, planned: None }
    }
}

impl Suspects {
    /// The process has a new id.
    pub(super) fn reregistered(&mut self) {
        self.ready = true;
        self.patient_until = None;
    }

    /// A claim has brought a suspect, or none. Where there is one there may be more; and it is alone until it is settled,
    /// or has stood its probation.
    pub(super) fn claimed(&mut self, suspect: Option<&ClaimedEvent>) {
        self.ready |= suspect.is_some();
        let probation = |suspect: &ClaimedEvent| if suspect.crashes < 2 { PROBATION } else { LONG_PROBATION };
        self.patient_until = suspect.map(|suspect| Instant::now() + probation(suspect));
    }
}

impl Dispatcher {
    /// Sees to suspects: one at a time, and nothing else of the subscription beside it, so that whatever dies with it is to
    /// blame. True while the rest must wait, which is not for ever: a handler may take hours.
    pub(super) fn claim_suspect_alone(&mut self, context: &mut Context<Self>) -> bool {
        if !self.intake.suspects.ready && self.intake.suspects.patient_until.is_none() {
            return false;
        }
        let now = Instant::now();
        let until = *self.intake.suspects.patient_until.get_or_insert_with(|| now + PATIENCE);
        if !self.leases.is_empty() && now < until {
            self.advance_at(until, context);
            return true;
        }
        // Either alone, or out of patience with what has been at work for long.
        self.intake.suspects.patient_until = None;
        if !self.intake.suspects.ready {
            return false;
        }
        self.intake.suspects.ready = false;
        let ((store, subscription, process), version) = (self.claimant(), self.config.settings.version);
        self.work(context, async move {
            let event = store.claim_suspect(subscription, process, version).await?;
            Ok(Step::Suspected { event })
        });
        true
    }

    fn advance_at(&mut self, until: Instant, context: &mut Context<Self>) {
        match self.intake.suspects.planned {
            Some((planned, _)) if planned == until => return,
            Some((_, other)) => drop(context.cancel_future(other)),
            None => {}
        }
        let wait = until.saturating_duration_since(Instant::now());
        let timer = context.run_later(wait, |actor, context| {
            actor.intake.suspects.planned = None;
            actor.advance(context);
        });
        self.intake.suspects.planned = Some((until, timer));
    }
}
