//! Operations on one subscription.

use super::access::Access;
use crate::config::Config;
use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::dead_letter::{DeadLetter, DeadLetterFilter};
use crate::model::event::EventId;
use crate::model::seek::{Seek, SeekReport};
use crate::model::unsubscribed::Unsubscribed;
use crate::store::{Store, Target};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Operations on one subscription of channel `C`: its dead letters, its position in the log, its lag.
///
/// [`PubSub::subscription`](crate::PubSub::subscription) makes one from a running runtime, whose connections it uses.
/// [`connect`](Self::connect) makes one without a runtime, for tools. In both cases the subscription's handler may run in
/// any process, or in none.
///
/// Cheap to clone. It does not keep a runtime alive: once the runtime has stopped, every operation fails with
/// [`Error::Stopped`].
///
/// # Examples
/// ```no_run
/// # use pubsub::{Channel, Subscription};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// # async fn example() -> Result<(), pubsub::Error> {
/// let twilio = Subscription::<Sms>::connect("postgres://localhost/shop", "twilio").await?;
/// for letter in twilio.dead_letters(None, 100).await? {
///     println!("event {}: {}, {:?}", letter.event_id, letter.reason, letter.error);
/// }
/// println!("{} are tried again", twilio.redrive().await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "a `Subscription` does nothing until one of its methods is called"]
pub struct Subscription<C> {
    name: Arc<str>,
    access: Access,
    channel: PhantomData<fn() -> C>,
}

/// The number of connections of a subscription without a runtime.
const CONNECTIONS: usize = 1;

impl<C: Channel> Subscription<C> {
    pub(super) fn new(name: String, access: Access) -> Self {
        Self { name: name.into(), access, channel: PhantomData }
    }

    /// Connects to the database behind a `postgres://` URL or a libpq connection string. Needs a Tokio runtime, which may be
    /// that of an actix system; no [`PubSub`](crate::PubSub) has to run.
    ///
    /// The connection lives as long as the `Subscription` and its clones, and is opened again when it breaks. The first
    /// operation checks that the subscription exists.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`], a connection error, or [`Error::SchemaMissing`] and its like if [`migrate`](crate::migrate) has
    /// not run.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn connect(
        target: impl TryInto<Target, Error: Into<Error>>,
        name: impl Into<String>,
    ) -> Result<Self, Error> {
        let target = target.try_into().map_err(Into::into)?;
        let deadline = Config::default().deadline;
        target.check_schema(deadline).await?;
        let store = Store::new(&target, &Handle::current(), CONNECTIONS, deadline);
        Ok(Self::new(name.into(), Access::new(store)))
    }

    /// The subscription's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns up to `limit` dead letters, ordered by event id. To get the next page, pass the id of the last one as `after`.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn dead_letters(&self, after: Option<EventId>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        self.dead_letters_with(&DeadLetterFilter::new(), after, limit).await
    }

    /// Returns up to `limit` of the dead letters that `filter` selects. Otherwise like [`dead_letters`](Self::dead_letters).
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn dead_letters_with(
        &self,
        filter: &DeadLetterFilter,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let after = after.map_or(i64::MIN, |id| id.0);
        self.access.store()?.dead_letters::<C>(&self.name, filter, after, limit).await
    }

    /// Returns to the handler all dead letters that were given up before the call, with their attempts reset. Returns how many.
    ///
    /// A thousand are moved per transaction. After an error, those of earlier transactions stay moved.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future leaves some dead letters moved and others not. It is safe to call again.
    pub async fn redrive(&self) -> Result<u64, Error> {
        self.redrive_with(&DeadLetterFilter::new()).await
    }

    /// Returns the dead letters that `filter` selects to the handler. Otherwise like [`redrive`](Self::redrive).
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// As [`redrive`](Self::redrive).
    pub async fn redrive_with(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        self.access.store()?.redrive(C::NAME, &self.name, filter, None).await
    }

    /// Returns one dead letter to the handler, with its attempts reset. Returns false if the event is not a dead letter of this
    /// subscription, or not any more.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the dead letter was moved. It is safe to call again.
    pub async fn redrive_one(&self, event: EventId) -> Result<bool, Error> {
        let all = DeadLetterFilter::new();
        Ok(self.access.store()?.redrive(C::NAME, &self.name, &all, Some(event.0)).await? > 0)
    }

    /// Deletes the dead letters that `filter` selects. Returns how many. They cannot be redriven afterwards.
    ///
    /// A thousand are deleted per transaction. After an error, those of earlier transactions stay deleted.
    /// [`SubscribeOptions::dead_letter_retention`](crate::SubscribeOptions::dead_letter_retention) deletes them by age.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// Dropping the future leaves some dead letters deleted and others not. It is safe to call again.
    pub async fn purge_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        self.access.store()?.purge_dead_letters(C::NAME, &self.name, filter, None).await
    }

    /// Deletes one dead letter. Returns false if the event is not a dead letter of this subscription, or not any more.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the dead letter was deleted. It is safe to call again.
    pub async fn purge_dead_letter(&self, event: EventId) -> Result<bool, Error> {
        let all = DeadLetterFilter::new();
        Ok(self.access.store()?.purge_dead_letters(C::NAME, &self.name, &all, Some(event.0)).await? > 0)
    }

    /// Moves the subscription in the log: back, so that past events are delivered again, or ahead, so that events are skipped.
    /// [`seek_dry_run`](Self::seek_dry_run) counts both beforehand.
    ///
    /// Events that were committed before the call are delivered from the new position on, and no others are.
    /// Events that commit later are always delivered. A repeated delivery has its event's own id, headers and times, and
    /// [`Delivery::is_replay`](crate::Delivery::is_replay) is true.
    ///
    /// Events that are being handled or that wait for a retry are not affected. Such an event is delivered once more if it
    /// is ahead of the new position.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::{Channel, PubSub, subscription::Seek};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms")]
    /// # struct Sms { msg: String }
    /// # async fn example(pubsub: PubSub) -> Result<(), pubsub::Error> {
    /// let twilio = pubsub.subscription::<Sms>("twilio");
    /// let noon = Seek::Time("2026-11-23T12:00:00Z".parse().expect("a time"));
    /// let counted = twilio.seek_dry_run(noon).await?;
    /// println!("{} again, {} never", counted.replayed, counted.skipped);
    /// twilio.seek(noon).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors. A seek counts the events
    /// that it affects, which takes about a second per million, and fails with [`Error::Timeout`] after 5 minutes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the subscription was moved. It is safe to call again.
    pub async fn seek(&self, to: Seek) -> Result<SeekReport, Error> {
        self.access.store()?.seek(C::NAME, &self.name, to, false).await
    }

    /// Counts what [`seek`](Self::seek) would do, and changes nothing.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn seek_dry_run(&self, to: Seek) -> Result<SeekReport, Error> {
        self.access.store()?.seek(C::NAME, &self.name, to, true).await
    }

    /// Resumes a subscription that was suspended because its events stayed unread. It continues with the first event that it
    /// has not read and that the log still has. See
    /// [`SubscribeOptions::unread_limit`](crate::SubscribeOptions::unread_limit).
    ///
    /// Returns how many events left the log in the meantime, unread by it; a million stands for a million or more. Returns 0 if
    /// it was not suspended.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; if a partition leaves the log at this moment, in which case a second call
    /// succeeds; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the subscription was resumed. It is safe to call again.
    pub async fn resume(&self) -> Result<u64, Error> {
        self.access.store()?.resume(C::NAME, &self.name).await
    }

    /// Removes the subscription, if no process runs it and it has nothing left to deliver. Returns the number of events and
    /// deliveries that were removed with it.
    ///
    /// Afterwards, a process that still runs the subscription cannot claim events, and logs why. A new subscription of the
    /// same name starts afresh.
    ///
    /// # Errors
    /// [`Error::InUse`] if a process runs the subscription, or if it has unread events, unsettled deliveries or dead letters;
    /// nothing is removed then. [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the subscription was removed. It is safe to call again.
    pub async fn unsubscribe(&self) -> Result<Unsubscribed, Error> {
        self.access.store()?.unsubscribe(C::NAME, &self.name, false).await
    }

    /// Removes the subscription with everything that it has left to deliver, whether or not processes run it. Otherwise like
    /// [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the subscription was removed. It is safe to call again.
    pub async fn force_unsubscribe(&self) -> Result<Unsubscribed, Error> {
        self.access.store()?.unsubscribe(C::NAME, &self.name, true).await
    }

    /// Returns how many committed events the subscription has not read yet. Counting stops at 10,000 for an unordered
    /// subscription, and at 10,000 in each lane for an ordered one.
    ///
    /// Events that are being handled or that wait for a retry have been read, and are not counted.
    ///
    /// # Errors
    /// [`Error::UnknownSubscription`]; [`Error::Stopped`]; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the database.
    pub async fn lag(&self) -> Result<u64, Error> {
        self.access.store()?.lag(C::NAME, &self.name).await
    }
}

impl<C> Clone for Subscription<C> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), access: self.access.clone(), channel: PhantomData }
    }
}

impl<C: Channel> fmt::Debug for Subscription<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", &C::NAME)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
