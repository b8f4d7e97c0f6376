//! Tells the database that this process lives.
//!
//! Owns: the process's row, and the session it beats from · Receives: its timer, the end of its session · Sends:
//! `Rejoined` when the process had been declared dead · If it dies: restarted; a beat missed is made up by the next.

use crate::actors::message::Rejoined;
use crate::error::{Error, error_chain};
use crate::model::process::ProcessId;
use crate::policy::backoff::Backoff;
use crate::store::Target;
use crate::store::pulse::{Pulse, SessionEnd};
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, SpawnHandle, Supervised, WrapFuture};
use std::rc::Rc;
use std::time::Duration;

pub(crate) struct Heartbeat {
    target: Target,
    deadline: Duration,
    host: String,
    process: ProcessId,
    every: Duration,
    dispatchers: Vec<Recipient<Rejoined>>,
    pulse: Option<Rc<Pulse>>,
    /// Failures since the last beat that was recorded.
    failures: u32,
    beating: bool,
    planned: Option<SpawnHandle>,
}

/// Between two tries to come back. The first ones are quick: the others wait for half a second before they take a process
/// whose session is gone for dead.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(20), 2.0, Duration::from_secs(1), 0.5);

impl Heartbeat {
    pub(crate) fn new(
        target: Target,
        deadline: Duration,
        host: String,
        process: ProcessId,
        every: Duration,
        dispatchers: Vec<Recipient<Rejoined>>,
    ) -> Self {
        Self {
            target,
            deadline,
            host,
            process,
            every,
            dispatchers,
            pulse: None,
            failures: 0,
            beating: false,
            planned: None,
        }
    }

    /// Beats now, and plans the next: never two at once.
    fn beat(&mut self, context: &mut Context<Self>) {
        if self.beating {
            return;
        }
        self.beating = true;
        if let Some(planned) = self.planned.take() {
            context.cancel_future(planned);
        }
        let (target, deadline, host, process) =
            (self.target.clone(), self.deadline, self.host.clone(), self.process.get());
        let pulse = self.pulse.clone();
        let beating = async move {
            let (pulse, end) = match pulse {
                Some(pulse) => (pulse, None),
                None => {
                    let (pulse, end) = target.pulse(deadline).await?;
                    (Rc::new(pulse), Some(end))
                }
            };
            let registered =
                if pulse.beat(process).await? { None } else { Some(pulse.register_again(&host).await?) };
            Ok(Beaten { pulse, end, registered })
        };
        context.spawn(beating.into_actor(self).map(Self::beaten));
    }

    fn beaten(beaten: Result<Beaten, Error>, actor: &mut Self, context: &mut Context<Self>) {
        actor.beating = false;
        let wait = match beaten {
            Ok(Beaten { pulse, end, registered }) => {
                actor.failures = 0;
                actor.pulse = Some(pulse);
                if let Some(end) = end {
                    actor.watch(end, context);
                }
                if let Some(id) = registered {
                    actor.rejoined(id);
                }
                actor.every
            }
            Err(error) => {
                actor.failures = actor.failures.saturating_add(1);
                actor.pulse = None;
                let wait = RECONNECT.delay(actor.failures, fastrand::f64());
                tracing::warn!(error = error_chain(&error), ?wait, "a heartbeat was not recorded");
                wait
            }
        };
        actor.planned = Some(context.run_later(wait, Self::beat));
    }

    /// Beats from another session as soon as this one ends: until then the others take the process for dead.
    fn watch(&self, end: SessionEnd, context: &mut Context<Self>) {
        context.spawn(end.into_actor(self).map(|_, actor, context| {
            if actor.pulse.take().is_some() {
                tracing::debug!("the heartbeat's session ended; it begins another");
                actor.beat(context);
            }
        }));
    }

    fn rejoined(&self, id: i64) {
        let was = self.process.get();
        self.process.set(id);
        tracing::warn!(was, process = id, "this process was declared dead; it has registered again");
        for dispatcher in &self.dispatchers {
            dispatcher.do_send(Rejoined);
        }
    }
}

/// A beat that was recorded.
struct Beaten {
    pulse: Rc<Pulse>,
    /// Of a session that was opened for it.
    end: Option<SessionEnd>,
    /// The new id of a process that was declared dead.
    registered: Option<i64>,
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.beat(context);
    }
}

impl Supervised for Heartbeat {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.pulse = None;
        self.beating = false;
        self.planned = None;
    }
}
