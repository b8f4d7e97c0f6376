//! One event handed to one subscription's handler.

use crate::contract::older_version::DecodeError;
use crate::model::channel::Channel;
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::model::failure::Handled;
use crate::model::probe::{Probe, Report};
use crate::model::process::ProcessId;
use actix::Message;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tracing::Span;

/// One event of channel `C`, handed to one subscription's handler. It is an actix message, so a handler is any actor with
/// `impl Handler<Delivery<C>>`. It dereferences to the payload.
///
/// # Examples
/// ```
/// use actix::prelude::*;
/// use pubsub::{Channel, Delivery, Handled};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("sms")]
/// struct Sms { msg: String }
///
/// struct Twilio;
/// impl Actor for Twilio { type Context = Context<Self>; }
/// impl Handler<Delivery<Sms>> for Twilio {
///     type Result = Handled;
///     fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
///         println!("attempt {} of event {}: {}", sms.attempt(), sms.event_id(), sms.msg);
///         Ok(())
///     }
/// }
/// ```
pub struct Delivery<C> {
    payload: C,
    event: ClaimedEvent,
    subscription: Arc<str>,
    process: ProcessId,
    span: Span,
    probe: Probe,
}

impl<C: Channel> Delivery<C> {
    /// Decodes a claimed event.
    pub(crate) fn decode(
        event: ClaimedEvent,
        subscription: Arc<str>,
        process: ProcessId,
    ) -> Result<(Self, Report), DecodeError> {
        let payload = C::decode(event.version.unsigned_abs(), &event.payload)?;
        let (probe, report) = Probe::new();
        let span = span::<C>(&event, &subscription);
        Ok((Self { payload, event, subscription, process, span, probe }, report))
    }

    /// Changes what a test has made.
    #[cfg(feature = "testing")]
    pub(crate) fn changed(mut self, change: impl FnOnce(&mut ClaimedEvent, &mut Arc<str>)) -> Self {
        change(&mut self.event, &mut self.subscription);
        self.span = span::<C>(&self.event, &self.subscription);
        self
    }

    /// Returns another report of what becomes of this delivery.
    #[cfg(feature = "testing")]
    pub(crate) fn report(&self) -> Report {
        self.probe.report()
    }

    /// The event's position in the log, which is the same for every subscription and every attempt.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        self.event.id
    }

    /// The number of this attempt, from 1. The database counts it before the handler starts. Only a crash of the database server
    /// can lose the count of a first attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.event.attempt
    }

    /// Whether this delivery is a replay: the subscription had passed the event, and a [seek](crate::Subscription::seek) moved it
    /// back. The event was delivered before, unless an earlier seek had skipped it. True for all attempts of the delivery.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.event.replay
    }

    /// The time of publication, by the database's clock.
    #[must_use]
    pub fn published_at(&self) -> Timestamp {
        self.event.published_at
    }

    /// The event's key: the entity that it belongs to.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.event.key.as_deref()
    }

    /// The publisher's headers. Parsed at each call.
    #[must_use]
    pub fn headers(&self) -> BTreeMap<String, String> {
        self.event.headers()
    }

    /// The subscription that this delivery is for.
    #[must_use]
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Whether an answer to this delivery can still count.
    ///
    /// False once this process knows that it was declared dead. The event then runs in another process, and the handler should
    /// stop its work. True promises nothing: a process that was frozen learns only from its next heartbeat that it was declared
    /// dead.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.process.get() == self.event.process
    }

    /// The token of the lease, which rises with every claim of this event by this subscription.
    ///
    /// It can serve as a fencing token: an external system that remembers the highest token of each event can refuse a handler
    /// that is late.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.event.token
    }

    /// The `tracing` span of this delivery, with its channel, subscription, event and attempt. `handle` runs inside the span. A
    /// future that it returns runs inside it only after `.instrument(delivery.span().clone())`.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Notes that the handler settles this delivery in a transaction of its own. Returns what the settlement names: the process,
    /// the lease and the event.
    pub(crate) fn settling(&self) -> (i64, LeaseToken, EventId) {
        self.probe.settles_in_transaction();
        (self.event.process, self.event.token, self.event.id)
    }

    /// Returns the payload.
    #[must_use]
    pub fn into_payload(self) -> C {
        self.payload
    }
}

/// Returns the span of a delivery.
fn span<C: Channel>(event: &ClaimedEvent, subscription: &str) -> Span {
    tracing::info_span!(
        "delivery",
        channel = C::NAME,
        subscription,
        event = event.id.0,
        attempt = event.attempt
    )
}

/// Shows the payload as its own `Debug` does, except for redacted fields.
impl<C: Channel + fmt::Debug> fmt::Debug for Delivery<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("channel", &C::NAME)
            .field("subscription", &self.subscription)
            .field("event_id", &self.event.id.0)
            .field("attempt", &self.event.attempt)
            .field("payload", &Shown(&self.payload))
            .finish_non_exhaustive()
    }
}

/// A payload without its redacted fields.
struct Shown<'a, C>(&'a C);

impl<C: Channel + fmt::Debug> fmt::Debug for Shown<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_payload(f)
    }
}

impl<C> Deref for Delivery<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.payload
    }
}

impl<C: 'static> Message for Delivery<C> {
    type Result = Handled;
}
