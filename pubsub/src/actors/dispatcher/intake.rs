//! What the dispatcher does next to get events: one thing at a time, and never a claim without room for its events.

use super::Dispatcher;
use super::suspicion::Suspicion;
use super::watch::{Row, Watch};
use crate::error::{Error, error_chain};
use crate::model::event::ClaimedEvent;
use crate::policy::backoff::Backoff;
use crate::policy::demand::MAX_OUTSTANDING;
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
const FIRST_NAP: Duration = Duration::from_millis(2);
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// Where the intake of events stands.
#[derive(Debug)]
pub(super) struct Intake {
    /// Something is under way; its end calls `advance`.
    working: bool,
    /// The log may have events that were not claimed. Cleared before a claim, not after: a `Wake` that lands while the
    /// query runs must cause one more claim, or its event waits for the poll.
    log_ripe: bool,
    /// The mailbox has due deliveries.
    mailbox_ripe: bool,
    pub(super) suspicion: Suspicion,
    /// The mailbox had its turn last.
    mailbox_was_last: bool,
    /// What was promised with the claim that is under way, or was last: see [`Demand::begins`](crate::policy::demand::Demand).
    pub(super) promise: usize,
    pub(super) watch: Watch,
    /// The pause before the next look, while somebody is mid-publish: those who began before the waiter row do not ring.
    restless: Option<Duration>,
    /// The timer of that pause.
    nap: Option<SpawnHandle>,
    /// The poll interval has passed.
    poll: bool,
    /// A claim's answer was lost: the database may hold leases under our name that we do not know.
    doubt: bool,
    /// Failures since the last success.
    failures: u32,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            working: false,
            log_ripe: true,
            mailbox_ripe: true,
            suspicion: Suspicion::default(),
            mailbox_was_last: false,
            promise: 0,
            watch: Watch::default(),
            restless: None,
            nap: None,
            poll: false,
            doubt: false,
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
    /// Nothing is in doubt any more.
    Certain { returned: i64 },
}

impl Intake {
    /// The intake of a dispatcher that has lost its memory.
    pub(super) fn after_doubt() -> Self {
        Self { doubt: true, ..Self::default() }
    }

    /// The process has a new id: the waiter row stands under the old one.
    pub(super) fn rejoined(&mut self) {
        self.watch.lost();
        self.restless = None;
        self.log_ripe = true;
        self.mailbox_ripe = true;
        self.suspicion.rejoined();
    }

    /// The database may have forgotten what we know, and the waiter row with it.
    pub(super) fn life_ended(&mut self) {
        self.watch.lost();
        self.restless = None;
        self.doubt = true;
        self.log_ripe = true;
        self.mailbox_ripe = true;
    }

    pub(super) fn log_ripe(&mut self) {
        self.log_ripe = true;
    }

    pub(super) fn mailbox_ripe(&mut self, ordinary: bool, suspect: bool) {
        self.mailbox_ripe |= ordinary;
        self.suspicion.ripe |= suspect;
    }

    pub(super) fn poll_due(&mut self) {
        self.poll = true;
    }

    pub(super) fn is_log_ripe(&self) -> bool {
        self.log_ripe
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
            self.cannot_look(context);
        } else if self.intake.doubt {
            self.resolve_doubt(context);
        } else if self.sees_to_suspects(context) {
            // Nothing else is claimed meanwhile.
            self.cannot_look(context);
        } else if self.intake.mailbox_ripe && !(self.intake.mailbox_was_last && self.intake.log_ripe) {
            self.claim_mailbox(room, context);
        } else if self.intake.log_ripe {
            self.claim_log(room, context);
        } else {
            self.rest(room, context);
        }
    }

    /// How many events may be claimed now.
    pub(super) fn room(&self) -> usize {
        if self.suspended || self.leases.unsettled() > MAX_UNSETTLED {
            return 0;
        }
        self.demand.claim_size(self.leases.outstanding())
    }

    fn resolve_doubt(&mut self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.speaker();
        let known = self.leases.tokens();
        self.work(context, async move {
            let returned = store.return_unknown(subscription, process, &known).await?;
            Ok(Step::Certain { returned })
        });
    }

    fn claim_mailbox(&mut self, room: usize, context: &mut Context<Self>) {
        let (store, subscription, process) = self.speaker();
        let (size, version) = (self.promise(room), self.brief.version);
        self.intake.mailbox_ripe = false;
        self.intake.mailbox_was_last = true;
        let began = Instant::now();
        self.work(context, async move {
            let events = store.claim_mailbox(subscription, process, size, version).await?;
            Ok(Step::Claimed { events, asked: room, from_mailbox: true, took: began.elapsed() })
        });
    }

    fn claim_log(&mut self, room: usize, context: &mut Context<Self>) {
        let (store, subscription, process) = self.speaker();
        let size = self.promise(room);
        self.can_look(context);
        self.intake.log_ripe = false;
        self.intake.mailbox_was_last = false;
        self.intake.restless = None;
        if let Some(nap) = self.intake.nap.take() {
            context.cancel_future(nap);
        }
        let says_awake = self.intake.watch.must_say_awake() && !self.intake.watch.leaving;
        if says_awake {
            self.intake.watch.row = Row::Awake(Instant::now());
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
        self.can_look(context);
        let (store, subscription, process) = self.speaker();
        let size = self.promise(room);
        let intake = &mut self.intake;
        match intake.watch.row {
            Row::None if intake.watch.leaving => {}
            // Registered before the look: whoever publishes after the look sees the row, and rings.
            Row::None | Row::Awake(_) => self.work(context, async move {
                store.start_waiting(subscription, process).await?;
                let (quiet, events) = store.claim_if_quiet(subscription, process, size).await?;
                Ok(Step::Looked { events, quiet })
            }),
            Row::Asleep(_) if intake.restless.is_some() => {
                if intake.nap.is_none() {
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
    fn promise(&mut self, room: usize) -> Size {
        self.intake.promise = self.demand.begins();
        Size::new(room, self.intake.promise)
    }

    /// Whom a step speaks to, and as whom.
    pub(super) fn speaker(&self) -> (Store, i32, i64) {
        (self.brief.store.clone(), self.brief.subscription, self.brief.assignment.process.get())
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
                actor.feed.claim_over();
                actor.advance(context);
            }
            Err(error) => actor.intake_failed(&error, context),
        }
    }

    fn take_step(&mut self, step: Step, context: &mut Context<Self>) {
        let intake = &mut self.intake;
        match step {
            Step::Claimed { events, asked, from_mailbox: true, .. } => {
                intake.mailbox_ripe |= events.len() == asked;
                self.deliver(events, true);
            }
            Step::Claimed { events, asked, from_mailbox: false, took } => {
                self.demand.observe_claim(took);
                if events.len() == asked {
                    intake.log_ripe = true;
                } else if !events.is_empty() && !intake.log_ripe {
                    intake.log_ripe = true;
                    self.advance_later(GATHER, context);
                }
                self.deliver(events, false);
            }
            Step::Suspected { event } => {
                intake.suspicion.claimed(event.first());
                intake.promise = usize::MAX;
                self.deliver(event, true);
            }
            Step::Looked { events, quiet } => {
                if !matches!(intake.watch.row, Row::Asleep(_)) {
                    intake.watch.row = Row::Asleep(Instant::now());
                }
                intake.log_ripe |= !events.is_empty();
                if quiet || !events.is_empty() {
                    intake.restless = None;
                } else {
                    let pause = intake.restless.unwrap_or(FIRST_NAP);
                    intake.restless = Some((pause * 2).min(LONGEST_NAP));
                    intake.nap = Some(context.run_later(pause, |actor, context| {
                        actor.intake.nap = None;
                        actor.advance(context);
                    }));
                }
                self.deliver(events, false);
            }
            Step::Polled { events, renewed } => {
                if renewed {
                    intake.watch.row = Row::Asleep(Instant::now());
                }
                intake.log_ripe |= !events.is_empty();
                self.deliver(events, false);
            }
            Step::Certain { returned } => {
                intake.doubt = false;
                intake.mailbox_ripe |= returned > 0;
            }
        }
    }

    /// Whether the step took effect is unknown: what it may have claimed is given back before anything else is claimed.
    fn intake_failed(&mut self, error: &Error, context: &mut Context<Self>) {
        let intake = &mut self.intake;
        intake.failures = intake.failures.saturating_add(1);
        intake.doubt = true;
        intake.log_ripe = true;
        intake.mailbox_ripe = true;
        intake.suspicion.ripe = true;
        let wait = DATABASE_BACKOFF.delay(intake.failures, fastrand::f64());
        tracing::warn!(
            channel = self.brief.channel,
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
