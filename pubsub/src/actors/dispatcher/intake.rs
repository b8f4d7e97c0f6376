//! What the dispatcher does next to get events: one thing at a time, and never a claim without room for its events.

use super::Dispatcher;
use super::suspects::Suspects;
use super::waiter::{Row, Waiter};
use crate::error::{Error, error_chain};
use crate::model::backoff::Backoff;
use crate::model::event::ClaimedEvent;
use crate::policy::prefetch::MAX_OUTSTANDING;
use crate::store::Store;
use crate::store::claim::Size;
use crate::store::wait::WAITER_TTL;
use actix::{ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use std::time::{Duration, Instant};

/// Between two tries after the database failed us.
const DATABASE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), 2.0, Duration::from_secs(5), 0.5);

/// Answers that may wait for the database before nothing more is claimed.
const MAX_UNSETTLED: usize = 4 * MAX_OUTSTANDING;

/// How long to let events gather after a claim found some, but not a full batch: publishers may be busy, and ringing for
/// each of their events would cost them more than one more look costs us.
const GATHER: Duration = Duration::from_millis(2);

/// First and longest pause between two looks while somebody is mid-publish.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Where the intake of events stands.
#[derive(Debug)]
pub(super) struct Intake {
    /// Something is under way; its end calls `advance`.
    working: bool,
    /// The log may have events that were not claimed. Cleared before a claim, not after: a `Wake` that lands while the
    /// query runs must cause one more claim, or its event waits for the poll.
    log_ready: bool,
    /// The mailbox has due deliveries.
    mailbox_ready: bool,
    pub(super) suspects: Suspects,
    /// The mailbox had its turn last.
    mailbox_was_last: bool,
    /// What was promised with the claim that is under way, or was last: see [`Prefetch::begins`](crate::policy::prefetch::Prefetch).
    pub(super) start_limit: usize,
    pub(super) waiter: Waiter,
    /// The pause before the next look, while somebody is mid-publish: those who began before the waiter row do not ring.
    repolling: Option<Duration>,
    /// The timer of that pause.
    pause_timer: Option<SpawnHandle>,
    /// The poll interval has passed.
    poll: bool,
    /// A claim's answer was lost: the database may hold leases under our name that we do not know.
    unknown_claim: bool,
    /// Failures since the last success.
    failures: u32,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            working: false,
            log_ready: true,
            mailbox_ready: true,
            suspects: Suspects::default(),
            mailbox_was_last: false,
            start_limit: 0,
            waiter: Waiter::default(),
            repolling: None,
            pause_timer: None,
            poll: false,
            unknown_claim: false,
            failures: 0,
        }
    }
}

/// What came of one step.
pub(super) enum Step {
    /// A claim of up to `asked` events, from the log or from the mailbox.
    Claimed { events: Vec<ClaimedEvent>, asked: usize, from_mailbox: bool, took: Duration },
    /// A suspect, if there was one.
    Suspected { event: Vec<ClaimedEvent> },
    /// A look with the waiter row standing. `quiet`: nobody was mid-publish.
    Looked { events: Vec<ClaimedEvent>, quiet: bool },
    /// The poll of a sleeper, which also renews its waiter row now and then.
    Polled { events: Vec<ClaimedEvent>, renewed: bool },
    /// Nothing is in unknown_claim any more.
    Certain { returned: i64 },
}

impl Intake {
    /// The intake of a dispatcher that has lost its memory.
    pub(super) fn after_restart() -> Self {
        Self { unknown_claim: true, ..Self::default() }
    }

    /// The process has a new id: the waiter row stands under the old one.
    pub(super) fn reregistered(&mut self) {
        self.waiter.lost();
        self.repolling = None;
        self.log_ready = true;
        self.mailbox_ready = true;
        self.suspects.reregistered();
    }

    /// The database may have forgotten what we know, and the waiter row with it.
    pub(super) fn incarnation_ended(&mut self) {
        self.waiter.lost();
        self.repolling = None;
        self.unknown_claim = true;
        self.log_ready = true;
        self.mailbox_ready = true;
    }

    pub(super) fn log_ready(&mut self) {
        self.log_ready = true;
    }

    pub(super) fn mailbox_ready(&mut self, ordinary: bool, suspect: bool) {
        self.mailbox_ready |= ordinary;
        self.suspects.ready |= suspect;
    }

    pub(super) fn poll_due(&mut self) {
        self.poll = true;
    }

    pub(super) fn is_log_ready(&self) -> bool {
        self.log_ready
    }

    pub(super) fn is_working(&self) -> bool {
        self.working
    }
}

impl Dispatcher {
    /// Starts the next step, if there is one and there is room for what it may bring.
    pub(super) fn advance(&mut self, context: &mut Context<Self>) {
        if self.intake.working || self.stopped {
            return;
        }
        if self.draining() {
            self.finish_drain(context);
            return;
        }
        let room = self.room();
        if room == 0 {
            self.cannot_poll_log(context);
        } else if self.intake.unknown_claim {
            self.return_unknown_claims(context);
        } else if self.claim_suspect_alone(context) {
            // Nothing else is claimed meanwhile.
            self.cannot_poll_log(context);
        } else if self.intake.mailbox_ready && !(self.intake.mailbox_was_last && self.intake.log_ready) {
            self.claim_mailbox(room, context);
        } else if self.intake.log_ready {
            self.claim_log(room, context);
        } else {
            self.rest(room, context);
        }
    }

    /// How many events may be claimed now.
    pub(super) fn room(&self) -> usize {
        if self.quarantined || self.leases.unsettled() > MAX_UNSETTLED {
            return 0;
        }
        self.prefetch.claim_size(self.leases.outstanding())
    }

    fn return_unknown_claims(&mut self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let known = self.leases.tokens();
        self.work(context, async move {
            let returned = store.return_unknown(subscription, process, &known).await?;
            Ok(Step::Certain { returned })
        });
    }

    fn claim_mailbox(&mut self, room: usize, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let (size, version) = (self.start_limit(room), self.config.settings.version);
        self.intake.mailbox_ready = false;
        self.intake.mailbox_was_last = true;
        let began = Instant::now();
        self.work(context, async move {
            let events = store.claim_mailbox(subscription, process, size, version).await?;
            Ok(Step::Claimed { events, asked: room, from_mailbox: true, took: began.elapsed() })
        });
    }

    fn claim_log(&mut self, room: usize, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let size = self.start_limit(room);
        self.can_poll_log(context);
        self.intake.log_ready = false;
        self.intake.mailbox_was_last = false;
        self.intake.repolling = None;
        if let Some(pause_timer) = self.intake.pause_timer.take() {
            context.cancel_future(pause_timer);
        }
        let says_awake = self.intake.waiter.must_say_awake() && !self.intake.waiter.leaving;
        if says_awake {
            self.intake.waiter.row = Row::Awake(Instant::now());
        }
        let began = Instant::now();
        self.work(context, async move {
            let events = if says_awake {
                store.claim_awake(subscription, process, size).await?
            } else {
                store.claim(subscription, process, size).await?
            };
            Ok(Step::Claimed { events, asked: room, from_mailbox: false, took: began.elapsed() })
        });
    }

    /// The log is read to its end: goes to sleep, or looks around while it sleeps.
    fn rest(&mut self, room: usize, context: &mut Context<Self>) {
        self.can_poll_log(context);
        let (store, subscription, process) = self.claimant();
        let size = self.start_limit(room);
        let intake = &mut self.intake;
        match intake.waiter.row {
            Row::None if intake.waiter.leaving => {}
            // Registered before the look: whoever publishes after the look sees the row, and rings.
            Row::None | Row::Awake(_) => self.work(context, async move {
                store.start_waiting(subscription, process).await?;
                let (quiet, events) = store.claim_if_quiet(subscription, process, size).await?;
                Ok(Step::Looked { events, quiet })
            }),
            Row::Asleep(_) if intake.repolling.is_some() => {
                if intake.pause_timer.is_none() {
                    self.work(context, async move {
                        let (quiet, events) = store.claim_if_quiet(subscription, process, size).await?;
                        Ok(Step::Looked { events, quiet })
                    });
                }
            }
            Row::Asleep(since) if intake.poll => {
                intake.poll = false;
                let renewed = since.elapsed() > WAITER_TTL / 2;
                self.work(context, async move {
                    if renewed {
                        store.start_waiting(subscription, process).await?;
                    }
                    let events = store.poll(subscription, process, size).await?;
                    Ok(Step::Polled { events, renewed })
                });
            }
            Row::Asleep(_) => {}
        }
    }

    /// Promises how far the handler will get into what is claimed now.
    fn start_limit(&mut self, room: usize) -> Size {
        self.intake.start_limit = self.prefetch.start_limit();
        Size::new(room, self.intake.start_limit)
    }

    /// Whom a step speaks to, and as whom.
    pub(super) fn claimant(&self) -> (Store, i32, i64) {
        (self.config.store.clone(), self.config.subscription, self.config.process.get())
    }

    pub(super) fn work(
        &mut self,
        context: &mut Context<Self>,
        step: impl Future<Output = Result<Step, Error>> + 'static,
    ) {
        self.intake.working = true;
        context.spawn(step.into_actor(self).map(Self::worked));
    }

    fn worked(step: Result<Step, Error>, actor: &mut Self, context: &mut Context<Self>) {
        actor.intake.working = false;
        match step {
            Ok(step) => {
                actor.intake.failures = 0;
                actor.take_step(step, context);
                actor.ready.claim_over();
                actor.advance(context);
            }
            Err(error) => actor.intake_failed(&error, context),
        }
    }

    fn take_step(&mut self, step: Step, context: &mut Context<Self>) {
        let intake = &mut self.intake;
        match step {
            Step::Claimed { events, asked, from_mailbox: true, .. } => {
                intake.mailbox_ready |= events.len() == asked;
                self.deliver(events, true);
            }
            Step::Claimed { events, asked, from_mailbox: false, took } => {
                self.prefetch.observe_claim(took);
                if events.len() == asked {
                    intake.log_ready = true;
                } else if !events.is_empty() && !intake.log_ready {
                    intake.log_ready = true;
                    self.advance_later(GATHER, context);
                }
                self.deliver(events, false);
            }
            Step::Suspected { event } => {
                intake.suspects.claimed(event.first());
                intake.start_limit = usize::MAX;
                self.deliver(event, true);
            }
            Step::Looked { events, quiet } => {
                if !matches!(intake.waiter.row, Row::Asleep(_)) {
                    intake.waiter.row = Row::Asleep(Instant::now());
                }
                intake.log_ready |= !events.is_empty();
                if quiet || !events.is_empty() {
                    intake.repolling = None;
                } else {
                    let pause = intake.repolling.unwrap_or(FIRST_PAUSE);
                    intake.repolling = Some((pause * 2).min(LONGEST_PAUSE));
                    intake.pause_timer = Some(context.run_later(pause, |actor, context| {
                        actor.intake.pause_timer = None;
                        actor.advance(context);
                    }));
                }
                self.deliver(events, false);
            }
            Step::Polled { events, renewed } => {
                if renewed {
                    intake.waiter.row = Row::Asleep(Instant::now());
                }
                intake.log_ready |= !events.is_empty();
                self.deliver(events, false);
            }
            Step::Certain { returned } => {
                intake.unknown_claim = false;
                intake.mailbox_ready |= returned > 0;
            }
        }
    }

    /// Whether the step took effect is unknown: what it may have claimed is given back before anything else is claimed.
    fn intake_failed(&mut self, error: &Error, context: &mut Context<Self>) {
        let intake = &mut self.intake;
        intake.failures = intake.failures.saturating_add(1);
        intake.unknown_claim = true;
        intake.log_ready = true;
        intake.mailbox_ready = true;
        intake.suspects.ready = true;
        let wait = DATABASE_BACKOFF.delay(intake.failures, fastrand::f64());
        tracing::warn!(
            channel = self.config.settings.channel,
            subscription = self.name(),
            error = error_chain(error),
            ?wait,
            "events cannot be claimed"
        );
        self.advance_later(wait, context);
    }

    fn advance_later(&mut self, wait: Duration, context: &mut Context<Self>) {
        self.intake.working = true;
        context.run_later(wait, |actor, context| {
            actor.intake.working = false;
            actor.advance(context);
        });
    }
}
