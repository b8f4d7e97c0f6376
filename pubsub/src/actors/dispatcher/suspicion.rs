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
pub(super) struct Suspicion {
    /// The mailbox may have one.
    pub(super) ripe: bool,
    /// Until when one waits for the others to end, or is handled alone.
    patient_until: Option<Instant>,
    /// The look that is planned for then.
    planned: Option<(Instant, SpawnHandle)>,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { ripe: true, patient_until: None, planned: None }
    }
}

impl Suspicion {
    /// The process has a new id.
    pub(super) fn rejoined(&mut self) {
        self.ripe = true;
        self.patient_until = None;
    }

    /// A claim has brought a suspect, or none. Where there is one there may be more; and it is alone until it is settled,
    /// or has stood its probation.
    pub(super) fn claimed(&mut self, suspect: Option<&ClaimedEvent>) {
        self.ripe |= suspect.is_some();
        let probation = |suspect: &ClaimedEvent| if suspect.crashes < 2 { PROBATION } else { LONG_PROBATION };
        self.patient_until = suspect.map(|suspect| Instant::now() + probation(suspect));
    }
}

impl Dispatcher {
    /// Sees to suspects: one at a time, and nothing else of the subscription beside it, so that whatever dies with it is to
    /// blame. True while the rest must wait, which is not for ever: a handler may take hours.
    pub(super) fn sees_to_suspects(&mut self, context: &mut Context<Self>) -> bool {
        if !self.intake.suspicion.ripe && self.intake.suspicion.patient_until.is_none() {
            return false;
        }
        let now = Instant::now();
        let until = *self.intake.suspicion.patient_until.get_or_insert_with(|| now + PATIENCE);
        if !self.leases.is_empty() && now < until {
            self.advance_at(until, context);
            return true;
        }
        // Either alone, or out of patience with what has been at work for long.
        self.intake.suspicion.patient_until = None;
        if !self.intake.suspicion.ripe {
            return false;
        }
        self.intake.suspicion.ripe = false;
        let ((store, subscription, process), version) = (self.speaker(), self.brief.version);
        self.work(context, async move {
            let event = store.claim_suspect(subscription, process, version).await?;
            Ok(Step::Suspected { event })
        });
        true
    }

    fn advance_at(&mut self, until: Instant, context: &mut Context<Self>) {
        match self.intake.suspicion.planned {
            Some((planned, _)) if planned == until => return,
            Some((_, other)) => drop(context.cancel_future(other)),
            None => {}
        }
        let wait = until.saturating_duration_since(Instant::now());
        let timer = context.run_later(wait, |actor, context| {
            actor.intake.suspicion.planned = None;
            actor.advance(context);
        });
        self.intake.suspicion.planned = Some((until, timer));
    }
}
