//! Deliveries that a test makes.

use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::model::payload;
use crate::model::process::ProcessId;
use jiff::Timestamp;
use std::sync::Arc;

/// The process of every delivery that is current. No process in a database has a number below 1.
const PROCESS: i64 = -1;

/// The subscription, unless the test names another one.
const SUBSCRIPTION: &str = "test";

/// For unit tests of handlers: deliveries that come from no database. Needs the feature `testing`.
impl<C: Channel> Delivery<C> {
    /// Makes a delivery of a payload: the first attempt of event 1, under lease 1 of the subscription `test`, published now, with
    /// the payload's own [key](Channel::key) and without headers. The other functions of this section change that.
    ///
    /// The payload is written as JSON and read back, so the handler sees what a published one would have become.
    ///
    /// No lease stands behind it. [`settle_in`](Self::settle_in) fails with [`Error::LeaseLost`](crate::Error::LeaseLost): a handler
    /// that calls it is tested through a [`Harness`](crate::testing::Harness).
    ///
    /// # Panics
    /// If the payload could not be published: it holds a NaN, a NUL character, or nests too deeply.
    ///
    /// # Examples
    /// ```
    /// use pubsub::{Channel, Delivery};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms", key = receiver)]
    /// # struct Sms { receiver: String, msg: String }
    /// let sms = Sms { receiver: "+4930123".into(), msg: "Welcome!".into() };
    /// let delivery = Delivery::of(sms).with_attempt(3).with_header("tenant", "shop");
    /// assert_eq!(delivery.attempt(), 3);
    /// assert_eq!(delivery.key(), Some("+4930123"));
    /// assert_eq!(delivery.headers()["tenant"], "shop");
    /// ```
    #[must_use]
    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "`Delivery::of(Sms { .. })` reads best, and nobody needs it afterwards"
    )]
    pub fn of(payload: C) -> Self {
        let json = payload::encode_event(&payload).unwrap_or_else(|error| {
            panic!("the payload of channel `{}` could not be published: {error}", C::NAME)
        });
        let event = ClaimedEvent {
            process: PROCESS,
            key: payload.key().map(std::borrow::Cow::into_owned),
            payload: json.into_bytes(),
            version: i32::try_from(C::VERSION).unwrap_or(i32::MAX),
            published_at: Timestamp::now(),
            ..ClaimedEvent::sample(1)
        };
        match Self::decode(event, Arc::from(SUBSCRIPTION), ProcessId::new(PROCESS)) {
            Ok((delivery, _)) => delivery,
            Err(error) => panic!("the payload of channel `{}` cannot be read back: {error}", C::NAME),
        }
    }

    /// Sets [`attempt`](Self::attempt).
    ///
    /// # Panics
    /// If it is 0: attempts count from 1.
    #[must_use]
    #[track_caller]
    pub fn with_attempt(self, attempt: u32) -> Self {
        assert!(attempt > 0, "attempts count from 1");
        self.changed(|event, _| event.attempt = attempt)
    }

    /// Sets [`event_id`](Self::event_id).
    #[must_use]
    pub fn with_event_id(self, id: EventId) -> Self {
        self.changed(|event, _| event.id = id)
    }

    /// Sets [`token`](Self::token).
    #[must_use]
    pub fn with_token(self, token: LeaseToken) -> Self {
        self.changed(|event, _| event.token = token)
    }

    /// Sets [`key`](Self::key), as [`PublishOptions::key`](crate::PublishOptions::key) does.
    #[must_use]
    pub fn with_key(self, key: impl Into<String>) -> Self {
        self.changed(|event, _| event.key = Some(key.into()))
    }

    /// Adds one of the [`headers`](Self::headers), as [`PublishOptions::header`](crate::PublishOptions::header) does.
    #[must_use]
    pub fn with_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.changed(|event, _| {
            let mut headers = event.headers();
            headers.insert(name.into(), value.into());
            let json = serde_json::to_vec(&headers).expect("a map of texts is JSON");
            event.headers = Some(json);
        })
    }

    /// Sets [`published_at`](Self::published_at).
    #[must_use]
    pub fn with_published_at(self, published_at: Timestamp) -> Self {
        self.changed(|event, _| event.published_at = published_at)
    }

    /// Sets [`subscription`](Self::subscription).
    #[must_use]
    pub fn with_subscription(self, name: &str) -> Self {
        self.changed(|_, subscription| *subscription = Arc::from(name))
    }

    /// Makes it a [replay](Self::is_replay).
    #[must_use]
    pub fn as_replay(self) -> Self {
        self.changed(|event, _| event.replay = true)
    }

    /// Makes it one that is not [current](Self::is_current) any more: its process was declared dead.
    #[must_use]
    pub fn not_current(self) -> Self {
        self.changed(|event, _| event.process = PROCESS - 1)
    }
}
