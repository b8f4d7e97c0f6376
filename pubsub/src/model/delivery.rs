//! One event handed to one subscription's handler.

use crate::contract::older_version::DecodeError;
use crate::model::channel::Channel;
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::model::failure::Handled;
use crate::model::process::ProcessId;
use crate::panics::{PanicProbe, PanicReport};
use actix::Message;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tracing::Span;

/// One event of channel `C`, handed to one subscription's handler. An actix message: a handler is any actor with
/// `impl Handler<Delivery<C>>`. Dereferences to the payload.
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
    _probe: PanicProbe,
}

impl<C: Channel> Delivery<C> {
    /// Decodes a claimed event.
    pub(crate) fn decode(
        event: ClaimedEvent,
        subscription: Arc<str>,
        process: ProcessId,
    ) -> Result<(Self, PanicReport), DecodeError> {
        let payload = C::decode(event.version.unsigned_abs(), &event.payload)?;
        let (probe, report) = PanicProbe::new();
        let span = tracing::info_span!(
            "delivery",
            channel = C::NAME,
            subscription = &*subscription,
            event = event.id.0,
            attempt = event.attempt
        );
        Ok((Self { payload, event, subscription, process, span, _probe: probe }, report))
    }

    /// Where the event stands in the log: the same for every subscription and every attempt.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        self.event.id
    }

    /// Which start of the handler for this event this is, from 1. Counted in the database before the handler runs; only
    /// a crash of the database server itself can forget a first one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.event.attempt
    }

    /// Whether a [seek](crate::Subscription::seek) has brought this delivery about: the subscription had passed the event before
    /// it was last moved back. So it was delivered before, unless it had also been skipped by a seek. It stays true for
    /// the delivery's further attempts.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.event.replay
    }

    /// When the event was published, by the database's clock.
    #[must_use]
    pub fn published_at(&self) -> Timestamp {
        self.event.published_at
    }

    /// What the publisher said the event belongs to.
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

    /// Whether an answer to this delivery can still count. False once this process has noticed that it was declared dead:
    /// the event has been given to another, and whatever is not done yet is better left undone. True is a hope, not a
    /// promise: a process that was frozen learns of its death only with its next heartbeat.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.process.get() == self.event.process
    }

    /// The token of the claim: rises with every claim of this event by this subscription. A fencing token: an external
    /// system that remembers the highest it has seen for an event can refuse a handler that is late.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.event.token
    }

    /// The `tracing` span of this delivery, with its channel, subscription, event and attempt. `handle` runs inside it;
    /// a future that it returns does only if it is told to: `.instrument(delivery.span().clone())`.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The payload alone.
    #[must_use]
    pub fn into_payload(self) -> C {
        self.payload
    }
}

/// Shows the payload as its own `Debug` does, but for the redacted fields.
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
