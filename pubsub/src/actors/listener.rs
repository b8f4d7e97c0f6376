//! Turns PostgreSQL's notifications into wake-ups.
//!
//! Owns: the one LISTEN connection of the process · Receives: notifications, its timers · Sends: `Wake` to the dispatchers
//! of a channel, `LookIntoMailbox` to the scheduler · If it dies: restarted; until it listens again the polls cover.

use crate::actors::message::{LookIntoMailbox, Wake};
use crate::error::{Error, error_chain};
use crate::model::process::ProcessId;
use crate::policy::backoff::Backoff;
use crate::store::Target;
use crate::store::listen::{Ears, Heard, Hearing};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Recipient, SpawnHandle, StreamHandler, Supervised,
    WrapFuture,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Between two attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(50), 2.0, Duration::from_secs(10), 0.5);

/// How often the listener tests whether it hears itself, and how long it waits to.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// After listening has begun, everybody looks at once, and once more after this: PostgreSQL 19 can lose a notification
/// that commits while the first LISTEN does.
const SECOND_LOOK: Duration = Duration::from_millis(200);

pub(crate) struct Listener {
    target: Target,
    deadline: Duration,
    /// Whom a bell for one process is for, if it is for us.
    process: ProcessId,
    dispatchers: HashMap<String, Vec<Recipient<Wake>>>,
    scheduler: Recipient<LookIntoMailbox>,
    listening: Option<Listening>,
    /// Attempts to connect since the last success.
    attempts: u32,
}

struct Listening {
    ears: Rc<Ears>,
    stream: SpawnHandle,
    /// The probe that has not been heard yet.
    probing: Option<u64>,
}

impl Listener {
    pub(crate) fn new(
        target: Target,
        deadline: Duration,
        process: ProcessId,
        dispatchers: HashMap<String, Vec<Recipient<Wake>>>,
        scheduler: Recipient<LookIntoMailbox>,
    ) -> Self {
        Self { target, deadline, process, dispatchers, scheduler, listening: None, attempts: 0 }
    }

    fn connect(&mut self, context: &mut Context<Self>) {
        let (target, deadline) = (self.target.clone(), self.deadline);
        let connecting = async move { target.listen(deadline).await };
        context.spawn(connecting.into_actor(self).map(Self::connected));
    }

    fn connected(opened: Result<(Ears, Hearing), Error>, actor: &mut Self, context: &mut Context<Self>) {
        match opened {
            Ok((ears, hearing)) => {
                actor.attempts = 0;
                let stream = context.add_stream(hearing);
                actor.listening = Some(Listening { ears: Rc::new(ears), stream, probing: None });
                tracing::debug!("the listener hears");
                actor.wake_all();
                context.run_later(SECOND_LOOK, |actor, _| actor.wake_all());
            }
            Err(error) => {
                actor.attempts = actor.attempts.saturating_add(1);
                let wait = RECONNECT.delay(actor.attempts, fastrand::f64());
                tracing::warn!(
                    error = error_chain(&error),
                    ?wait,
                    "the listener cannot connect; polls cover"
                );
                context.run_later(wait, Self::connect);
            }
        }
    }

    /// Gives the connection up, whatever its state, and opens another.
    fn lost(&mut self, why: &str, context: &mut Context<Self>) {
        if let Some(listening) = self.listening.take() {
            context.cancel_future(listening.stream);
            tracing::warn!(why, "the listener lost its connection; polls cover until it hears again");
            self.connect(context);
        }
    }

    fn wake_all(&self) {
        for dispatcher in self.dispatchers.values().flatten() {
            dispatcher.do_send(Wake);
        }
        self.scheduler.do_send(LookIntoMailbox { after: Duration::ZERO });
    }

    fn probe(&mut self, context: &mut Context<Self>) {
        let Some(listening) = &mut self.listening else { return };
        let nonce = fastrand::u64(..);
        listening.probing = Some(nonce);
        let probing = Rc::clone(&listening.ears).probe(nonce, PROBE_DEADLINE);
        context.spawn(probing.into_actor(self).map(|sent, actor, context| {
            if let Err(error) = sent {
                actor.lost(&error_chain(&error), context);
            }
        }));
        context.run_later(PROBE_DEADLINE, move |actor, context| {
            if actor.listening.as_ref().is_some_and(|listening| listening.probing == Some(nonce)) {
                actor.lost(
                    "it does not hear itself: a broken network, or a pooler in transaction mode",
                    context,
                );
            }
        });
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.connect(context);
        context.run_interval(PROBE_EVERY, Self::probe);
    }
}

impl Supervised for Listener {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.listening = None;
    }
}

impl StreamHandler<Result<Heard, Error>> for Listener {
    fn handle(&mut self, heard: Result<Heard, Error>, context: &mut Self::Context) {
        match heard {
            Ok(Heard::Bell { process: Some(process), .. }) if process != self.process.get() => {}
            Ok(Heard::Bell { channel, .. }) => {
                // A name that nobody here subscribes to, or a forged one, wakes nobody.
                for dispatcher in self.dispatchers.get(&channel).into_iter().flatten() {
                    dispatcher.do_send(Wake);
                }
            }
            Ok(Heard::Mailbox) => self.scheduler.do_send(LookIntoMailbox { after: Duration::ZERO }),
            Ok(Heard::Probe(nonce)) => {
                if let Some(listening) = &mut self.listening
                    && listening.probing == Some(nonce)
                {
                    listening.probing = None;
                }
            }
            Err(error) => self.lost(&error_chain(&error), context),
        }
    }

    fn finished(&mut self, context: &mut Self::Context) {
        self.lost("the server closed it", context);
    }
}
