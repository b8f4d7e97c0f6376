//! Turns PostgreSQL's notifications into wake-ups.
//!
//! Owns: the LISTEN connection of the process · Receives: notifications, its timers, `ProcessReregistered` · Sends: `Wake` to
//! the dispatchers of a channel, `MailboxChanged` to the scheduler · If it dies: restarted; until it listens again,
//! subscriptions poll.

use crate::actors::fault_log::report_fault;
use crate::actors::message::{MailboxChanged, ProcessReregistered, Wake};
use crate::error::{Error, error_chain};
use crate::model::backoff::Backoff;
use crate::model::process::ProcessId;
use crate::observe::Vitals;
use crate::store::Target;
use crate::store::listen::{ListenClient, Notification, Notifications};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, StreamHandler, Supervised,
    WrapFuture,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pauses between attempts to connect.
const RECONNECT: Backoff =
    Backoff::exponential(Duration::from_millis(50)).max(Duration::from_secs(10)).jitter(0.5);

/// The longest silence before the listener tests its connection with a notification, and the longest wait for that
/// notification. Each listener's silence is shorter by a random part of up to a quarter. Then one listener sends a notification
/// first, all others receive it, and need not send one.
const SILENCE: Duration = Duration::from_secs(5);
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// The time after which a listener that has connected wakes all dispatchers for the second time. PostgreSQL 19 can lose a
/// notification that commits at the same time as the first LISTEN.
const SECOND_WAKE: Duration = Duration::from_millis(200);

pub(crate) struct Listener {
    target: Target,
    deadline: Duration,
    /// The process whose topic the listener listens to, besides the common topic.
    process: ProcessId,
    dispatchers: HashMap<String, Vec<Recipient<Wake>>>,
    scheduler: Recipient<MailboxChanged>,
    vitals: Arc<Vitals>,
    listening: Option<Listening>,
    /// Attempts to connect since the last success.
    attempts: u32,
}

struct Listening {
    client: Rc<ListenClient>,
    stream: SpawnHandle,
    /// The process's id when the connection was opened.
    process: i64,
    received_at: Instant,
}

impl Listener {
    pub(crate) fn new(
        target: Target,
        deadline: Duration,
        process: ProcessId,
        dispatchers: HashMap<String, Vec<Recipient<Wake>>>,
        scheduler: Recipient<MailboxChanged>,
        vitals: Arc<Vitals>,
    ) -> Self {
        Self { target, deadline, process, dispatchers, scheduler, vitals, listening: None, attempts: 0 }
    }

    fn connect(&mut self, context: &mut Context<Self>) {
        let (target, process, deadline) = (self.target.clone(), self.process.get(), self.deadline);
        let connecting = async move { target.listen(process, deadline).await };
        context.spawn(connecting.into_actor(self).map(move |opened, actor, context| match opened {
            Ok(opened) => actor.connected(process, opened, context),
            Err(error) => actor.not_connected(&error, context),
        }));
    }

    fn connected(
        &mut self,
        process: i64,
        (client, notifications): (ListenClient, Notifications),
        context: &mut Context<Self>,
    ) {
        self.attempts = 0;
        let stream = context.add_stream(notifications);
        self.listening =
            Some(Listening { client: Rc::new(client), stream, process, received_at: Instant::now() });
        self.vitals.set_listening(true);
        tracing::debug!("the listener is connected");
        self.wake_all();
        context.run_later(SECOND_WAKE, |actor, _| actor.wake_all());
        self.follow(context);
    }

    fn not_connected(&mut self, error: &Error, context: &mut Context<Self>) {
        self.attempts = self.attempts.saturating_add(1);
        let wait = RECONNECT.delay(self.attempts, fastrand::f64());
        report_fault!("the listener cannot connect; subscriptions poll until it does", "", error, ?wait);
        context.run_later(wait, Self::connect);
    }

    /// Reports that the connection does not work, and opens another.
    fn lost(&mut self, why: &str, context: &mut Context<Self>) {
        if self.listening.is_some() {
            tracing::warn!(why, "the listener lost its connection; subscriptions poll until it is back");
            self.reconnect(context);
        }
    }

    fn reconnect(&mut self, context: &mut Context<Self>) {
        if let Some(listening) = self.listening.take() {
            self.vitals.set_listening(false);
            context.cancel_future(listening.stream);
            self.connect(context);
        }
    }

    /// Listens to another topic if the process has a new id.
    fn follow(&mut self, context: &mut Context<Self>) {
        if self.listening.as_ref().is_some_and(|listening| listening.process != self.process.get()) {
            self.reconnect(context);
        }
    }

    fn wake_all(&self) {
        for dispatcher in self.dispatchers.values().flatten() {
            dispatcher.do_send(Wake);
        }
        self.scheduler.do_send(MailboxChanged { after: Duration::ZERO });
    }

    /// Probes the connection once it has been silent for `patience`. Looks again after `rest`.
    fn await_silence(&mut self, patience: Duration, rest: Duration, context: &mut Context<Self>) {
        context.run_later(rest, move |actor, context| {
            let silent = actor.listening.as_ref().map(|listening| listening.received_at.elapsed());
            match silent.map(|silent| patience.saturating_sub(silent)) {
                Some(Duration::ZERO) => actor.probe(context),
                Some(rest) => return actor.await_silence(patience, rest, context),
                None => {}
            }
            let patience = draw_patience();
            actor.await_silence(patience, patience, context);
        });
    }

    fn probe(&mut self, context: &mut Context<Self>) {
        let Some(listening) = &self.listening else { return };
        let (asked_at, client) = (Instant::now(), Rc::clone(&listening.client));
        let probing = Rc::clone(&client).probe(PROBE_DEADLINE);
        context.spawn(probing.into_actor(self).map(move |sent, actor, context| {
            let is_current = actor.listening.as_ref().is_some_and(|now| Rc::ptr_eq(&now.client, &client));
            if let (Err(error), true) = (sent, is_current) {
                actor.lost(&error_chain(&error), context);
            }
        }));
        context.run_later(PROBE_DEADLINE, move |actor, context| {
            if actor.listening.as_ref().is_some_and(|listening| listening.received_at < asked_at) {
                actor.lost(
                    "it does not receive its own notifications: a broken network, or a pooler in transaction mode",
                    context,
                );
            }
        });
    }
}

/// Draws the silence after which the listener probes.
fn draw_patience() -> Duration {
    SILENCE.mul_f64(1.0 - fastrand::f64() / 4.0)
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.connect(context);
        let patience = draw_patience();
        self.await_silence(patience, patience, context);
    }
}

impl Supervised for Listener {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.listening = None;
        self.vitals.set_listening(false);
    }
}

impl Handler<ProcessReregistered> for Listener {
    type Result = ();

    fn handle(&mut self, _: ProcessReregistered, context: &mut Self::Context) {
        self.follow(context);
    }
}

impl StreamHandler<Result<Notification, Error>> for Listener {
    fn handle(&mut self, notification: Result<Notification, Error>, context: &mut Self::Context) {
        if let (Ok(_), Some(listening)) = (&notification, &mut self.listening) {
            listening.received_at = Instant::now();
        }
        match notification {
            Ok(Notification::Bell { channel }) => {
                // A channel without a subscription here, or a forged one, wakes nobody.
                for dispatcher in self.dispatchers.get(&channel).into_iter().flatten() {
                    dispatcher.do_send(Wake);
                }
            }
            Ok(Notification::Mailbox) => self.scheduler.do_send(MailboxChanged { after: Duration::ZERO }),
            Ok(Notification::Probe) => {}
            Err(error) => self.lost(&error_chain(&error), context),
        }
    }

    fn finished(&mut self, context: &mut Self::Context) {
        self.lost("the server closed it", context);
    }
}
