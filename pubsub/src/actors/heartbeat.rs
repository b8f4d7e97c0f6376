//! Tells the database that this process is alive.
//!
//! Owns: the process's row, and the session of its beats · Receives: its timer, the end of its session · Sends:
//! `ProcessReregistered` when the process had been declared dead, `IncarnationEnded` when the server may have lost commits,
//! `BeatEnded` after each beat · If it dies: restarted; the next beat makes up for a missed one.

use crate::actors::fault_log::report_fault;
use crate::actors::message::{BeatEnded, IncarnationEnded, ProcessReregistered};
use crate::error::Error;
use crate::model::backoff::Backoff;
use crate::model::process::ProcessId;
use crate::observe::Vitals;
use crate::policy::absence::Rhythm;
use crate::store::Target;
use crate::store::heartbeat_session::{HeartbeatSession, SessionEnd};
use crate::store::restore::Recognized;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) struct Heartbeat {
    target: Target,
    deadline: Duration,
    registered: Registered,
    pace: Pace,
    recipients: Recipients,
    vitals: Arc<Vitals>,
    /// The session of the last beat that was recorded. It is kept until a beat from another one is recorded, because a process
    /// without a session is soon dead.
    session: Option<Rc<HeartbeatSession>>,
    /// Failures since the last beat that was recorded.
    failures: u32,
    rhythm: Rhythm,
    beating: bool,
    planned: Option<(Instant, SpawnHandle)>,
}

/// The time between two beats, and the silence after which a process is dead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) every: Duration,
    pub(crate) silence_limit: Duration,
}

/// The registration of this process.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) host: String,
    pub(crate) process: ProcessId,
    /// The server's incarnation when it was last recognized.
    pub(crate) incarnation: i64,
}

/// The recipients of the heartbeat's messages.
#[derive(Debug)]
pub(crate) struct Recipients {
    pub(crate) reregistered: Vec<Recipient<ProcessReregistered>>,
    pub(crate) incarnation_ended: Vec<Recipient<IncarnationEnded>>,
    pub(crate) beat_ended: Recipient<BeatEnded>,
}

/// The pauses between attempts to connect again. They are short, because the other processes may reach the database first, and
/// declare this one dead once it has had no session for half a second.
const RECONNECT: Backoff =
    Backoff::exponential(Duration::from_millis(20)).max(Duration::from_millis(250)).jitter(0.5);

/// The time between the first two beats of a session.
const SECOND_BEAT: Duration = Duration::from_millis(100);

impl Heartbeat {
    pub(crate) fn new(
        target: Target,
        deadline: Duration,
        registered: Registered,
        pace: Pace,
        recipients: Recipients,
        vitals: Arc<Vitals>,
    ) -> Self {
        Self {
            target,
            deadline,
            registered,
            pace,
            recipients,
            vitals,
            session: None,
            failures: 0,
            rhythm: Rhythm::default(),
            beating: false,
            planned: None,
        }
    }

    /// Beats now, and plans the next beat. There is never more than one at a time.
    fn beat(&mut self, context: &mut Context<Self>) {
        if self.beating {
            return;
        }
        self.beating = true;
        let planned = self.planned.take().map(|(planned, timer)| {
            context.cancel_future(timer);
            planned
        });
        let due = planned.map_or_else(Instant::now, |planned| planned.min(Instant::now()));
        let (target, deadline) = (self.target.clone(), self.deadline);
        let (host, process) = (self.registered.host.clone(), self.registered.process.get());
        let session = self.session.clone().filter(|session| self.failures == 0 && !session.has_ended());
        let grace = self.rhythm.grace(self.pace.silence_limit);
        // Twice the interval, in case the silence limit is hardly longer.
        let pause = (self.pace.silence_limit / 2).max(self.pace.every * 2);
        let beating = async move {
            let (session, opened, due) = match session {
                Some(session) => (session, None, due),
                None => {
                    let (session, end) = target.heartbeat_session(deadline).await?;
                    // This comes before any other write, because this may be another server, or one that has lost commits.
                    let recognized = session.recognize().await?;
                    (Rc::new(session), Some((end, recognized)), Instant::now())
                }
            };
            let registered = if session.beat(process, grace, pause).await? {
                None
            } else {
                Some(session.register_again(&host, process).await?)
            };
            Ok(Beaten { session, opened, registered, took: due.elapsed() })
        };
        context.spawn(beating.into_actor(self).map(Self::beaten));
    }

    fn beaten(beaten: Result<Beaten, Error>, actor: &mut Self, context: &mut Context<Self>) {
        actor.beating = false;
        actor.recipients.beat_ended.do_send(BeatEnded { recorded: beaten.is_ok() });
        let wait = match beaten {
            Ok(Beaten { session, opened, registered, took }) => {
                actor.failures = 0;
                actor.vitals.has_beaten();
                actor.rhythm.observe(took);
                actor.session = Some(session);
                let is_first = opened.is_some();
                if let Some((end, recognized)) = opened {
                    actor.watch(end, context);
                    actor.compare(recognized);
                }
                if let Some(id) = registered {
                    actor.reregistered(id);
                }
                // The second beat of a session is early. It measures the grace that this server needs. It also corrects the
                // process's row, if the server recorded a late beat of the previous session after the first beat of this one.
                if is_first { actor.pace.every.min(SECOND_BEAT) } else { actor.pace.every }
            }
            Err(error) => {
                actor.failures = actor.failures.saturating_add(1);
                let wait = RECONNECT.delay(actor.failures, fastrand::f64());
                report_fault!("a heartbeat was not recorded", "", &error, ?wait);
                wait
            }
        };
        actor.planned = Some((Instant::now() + wait, context.run_later(wait, Self::beat)));
    }

    /// Beats from another session as soon as this one ends, because the other processes count the time without a session.
    fn watch(&self, end: SessionEnd, context: &mut Context<Self>) {
        context.spawn(end.into_actor(self).map(|_, actor, context| {
            if actor.session.as_ref().is_some_and(|session| session.has_ended()) {
                actor.session = None;
                tracing::debug!("the heartbeat's session ended; another one is opened");
                actor.beat(context);
            }
        }));
    }

    /// Notifies the dispatchers if the server has entered a new incarnation since the last notification.
    fn compare(&mut self, Recognized { incarnation, news }: Recognized) {
        if let Some(news) = news {
            tracing::warn!(news, "the database is not where it was");
        }
        if std::mem::replace(&mut self.registered.incarnation, incarnation) != incarnation {
            for recipient in &self.recipients.incarnation_ended {
                recipient.do_send(IncarnationEnded);
            }
        }
    }

    fn reregistered(&self, id: i64) {
        let was = self.registered.process.get();
        self.registered.process.set(id);
        tracing::warn!(was, process = id, "this process was declared dead; it has registered again");
        for recipient in &self.recipients.reregistered {
            recipient.do_send(ProcessReregistered);
        }
    }
}

/// A beat that was recorded.
struct Beaten {
    session: Rc<HeartbeatSession>,
    /// The end of the session, if one was opened for this beat, and the server that it found.
    opened: Option<(SessionEnd, Recognized)>,
    /// The new id of a process that was declared dead.
    registered: Option<i64>,
    /// The time from when the beat was due to its end.
    took: Duration,
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.beat(context);
    }
}

impl Supervised for Heartbeat {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.session = None;
        self.beating = false;
        self.planned = None;
    }
}
