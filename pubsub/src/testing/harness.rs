//! An application that runs in a test: its handlers on a database of its own.

use super::published::{Publications, events, sealed};
use super::{Database, Error};
use crate::model::channel::Channel;
use crate::model::published::Published;
use crate::observe::{HandlerState, HandlerStatus};
use crate::runtime::{Builder, PubSub};
use crate::store::Store;
use crate::store::publish::publish;
use crate::store::test_kit::{Open, Seen};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// The longest wait of [`Harness::settled`].
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// The pause between two questions whether all is settled.
const PAUSE: Duration = Duration::from_millis(5);

/// The connections of a harness beside those of its runtime.
const CONNECTIONS: usize = 1;

/// The longest wait for an answer of the database.
const DEADLINE: Duration = Duration::from_secs(10);

/// An application that runs in a test: its handlers on a [`Database`] of its own.
///
/// The test publishes, waits until everything is [`settled`](Self::settled), and asserts what was [published](Self::published),
/// handled, failed and given up ([`of`](Self::of)). The application stops when this value is dropped.
///
/// The time of deliveries is held in the database: one that is due later, after a failure or a snooze, waits until the test lets
/// that time [`pass`](Self::pass). So no test is too slow. All other times go on.
///
/// Several harnesses on one database are several processes of the application. Each counts what its own handlers have done.
///
/// # Examples
/// ```no_run
/// use pubsub::testing::{Database, Harness, assert_published};
/// # use actix::{Actor, Context, Handler};
/// # use pubsub::{Channel, Delivery, Handled};
/// # use serde::{Deserialize, Serialize};
/// # use std::time::Duration;
/// #
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// # #[derive(Default)]
/// # struct Twilio;
/// # impl Actor for Twilio { type Context = Context<Self>; }
/// # impl Handler<Delivery<Sms>> for Twilio {
/// #     type Result = Handled;
/// #     fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled { Ok(()) }
/// # }
/// # pubsub::routes! { App { Sms => Twilio } }
///
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let database = Database::create().await?;
/// let shop = Harness::start(&database, |builder| builder.routes(App::all())).await?;
///
/// shop.publish(&Sms { msg: "Welcome, Ada!".into() }).await?;
/// shop.settled().await?;
/// shop.of::<Sms>("twilio").handled(0).failed(1); // the provider was down
///
/// shop.pass(Duration::from_secs(60)).await?;
/// shop.settled().await?;
/// shop.of::<Sms>("twilio").handled(1).failed(1).given_up(0);
/// assert_published!(&shop, Sms { msg } if msg.starts_with("Welcome"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Harness {
    pubsub: PubSub,
    store: Store,
}

impl Harness {
    /// Starts an application on a database that is migrated, as [`Database::create`] makes it. `build` adds what the application
    /// runs to the builder of its runtime. The role must own the schema, because a trigger holds the time.
    ///
    /// Must be called inside an actix system, as in a test with `#[actix::test]`.
    ///
    /// # Errors
    /// As [`Builder::start`](crate::Builder::start).
    ///
    /// # Cancel safety
    /// As [`Builder::start`](crate::Builder::start).
    pub async fn start(
        database: &Database,
        build: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, crate::Error> {
        database.target().check_schema(DEADLINE).await?;
        let store = Store::new(database.target(), &Handle::current(), CONNECTIONS, DEADLINE);
        store.hold().await?;
        let pubsub = build(PubSub::builder(database.target())).start().await?;
        Ok(Self { pubsub, store })
    }

    /// The running application.
    #[must_use]
    pub fn pubsub(&self) -> &PubSub {
        &self.pubsub
    }

    /// Publishes an event in a transaction of its own, like [`publish`](crate::publish()).
    ///
    /// # Errors
    /// As [`publish`](crate::publish()).
    ///
    /// # Cancel safety
    /// As [`publish`](crate::publish()).
    pub async fn publish<C: Channel>(&self, event: &C) -> Result<Published, crate::Error> {
        publish(&self.pubsub, event).await
    }

    /// Waits up to 30 s until everything is settled: no event that was committed is unread, and no delivery is leased or due, of any
    /// subscription whose handler runs here. That includes the events that handlers publish.
    ///
    /// Deliveries that are due later do not hold it up: see [`pass`](Self::pass).
    ///
    /// # Errors
    /// [`Error::Unsettled`], which says what is still open; or the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn settled(&self) -> Result<(), Error> {
        self.settled_within(SETTLED_WITHIN).await
    }

    /// Waits until everything is settled, up to this limit. Otherwise like [`settled`](Self::settled).
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    ///
    /// # Cancel safety
    /// As [`settled`](Self::settled).
    pub async fn settled_within(&self, limit: Duration) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let open = self.open().await?;
            if open.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= limit {
                return Err(Error::Unsettled { after: limit, open: open.join("; ") });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets time pass for the deliveries of this database that are due later, and lets go those that are due then. The time that
    /// the test itself takes counts as well, at this moment. So let pass more than a delay, with its jitter; with `Duration::MAX`
    /// everything is due.
    ///
    /// Call it when everything is [`settled`](Self::settled), and `settled` again afterwards.
    ///
    /// # Errors
    /// The database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the time has passed.
    pub async fn pass(&self, time: Duration) -> Result<(), crate::Error> {
        self.store.pass(time).await
    }

    /// Returns the events of channel `C` that are committed, by whomever they were published, in the order of their ids, up to
    /// 100,000.
    ///
    /// # Errors
    /// If an event is not one that `C` can read, and the database's own errors.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn published<C: Channel>(&self) -> Result<Vec<C>, crate::Error> {
        self.store.published().await.map(events)
    }

    /// Returns what the handler of a subscription has done so far, for assertions. Wait until all is [`settled`](Self::settled)
    /// first.
    ///
    /// # Panics
    /// If no handler of that subscription runs here.
    #[must_use]
    #[track_caller]
    pub fn of<C: Channel>(&self, subscription: &str) -> Counted {
        let mut handlers = self.pubsub.handlers();
        match handlers.iter().position(|status| status.is_of(C::NAME, subscription)) {
            Some(at) => Counted(handlers.swap_remove(at)),
            None => {
                let name =
                    |status: &HandlerStatus| format!("`{}` of `{}`", status.subscription, status.channel);
                let known: Vec<String> = handlers.iter().map(name).collect();
                panic!(
                    "no handler of subscription `{subscription}` of channel `{}` runs here; there are: {}",
                    C::NAME,
                    known.join(", ")
                );
            }
        }
    }

    /// Describes each subscription that runs here and is not settled.
    async fn open(&self) -> Result<Vec<String>, crate::Error> {
        let open = self.store.open().await?;
        let handlers = self.pubsub.handlers();
        let of = |open: &Open| {
            let status = handlers.iter().find(|status| status.is_of(&open.channel, &open.subscription))?;
            Some(describe(open, status.state))
        };
        Ok(open.iter().filter_map(of).collect())
    }
}

impl Publications for &Harness {}

impl sealed::Publications for &Harness {
    const PLACE: &'static str = "in this database";

    async fn seen<C: Channel>(self) -> Result<Vec<Seen<C>>, crate::Error> {
        self.store.published().await
    }
}

fn describe(open: &Open, state: HandlerState) -> String {
    let Open { channel, subscription, is_suspended, unread, leased, due, too_new } = open;
    let mut counts = Vec::new();
    for (count, what) in [
        (unread, "unread"),
        (leased, "leased"),
        (due, "due"),
        (too_new, "too new for every process that has seen it"),
    ] {
        if *count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    let why = match state {
        _ if *is_suspended => ", and is suspended",
        HandlerState::Running => "",
        HandlerState::Quarantined => ", and its handler is quarantined",
        HandlerState::Unresponsive => ", and its handler does not respond",
    };
    format!("subscription `{subscription}` of channel `{channel}` has {}{why}", counts.join(", "))
}

/// The figures of a subscription's handler since its harness started. [`Harness::of`] returns them.
#[derive(Debug, Clone)]
pub struct Counted(HandlerStatus);

impl Counted {
    /// Asserts the number of deliveries that were handled.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn handled(self, expected: u64) -> Self {
        self.assert(expected, self.0.handled, "handled");
        self
    }

    /// Asserts the number of attempts that failed or panicked, the last one of a delivery too. A snooze or a rejection is no failure.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn failed(self, expected: u64) -> Self {
        self.assert(expected, self.0.failed, "failed");
        self
    }

    /// Asserts the number of deliveries that were given up and are dead letters now: out of attempts, rejected, or not readable.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn given_up(self, expected: u64) -> Self {
        self.assert(expected, self.0.dead, "given up");
        self
    }

    #[track_caller]
    fn assert(&self, expected: u64, found: u64, what: &str) {
        let HandlerStatus { channel, subscription, handled, failed, dead, last_panic, .. } = &self.0;
        let panic = last_panic.as_ref().map(|panic| format!("; its last panic: {panic}")).unwrap_or_default();
        assert!(
            found == expected,
            "subscription `{subscription}` of channel `{channel}`: expected {expected} {what}, found {found} (handled {handled}, \
             failed {failed}, given up {dead}{panic})"
        );
    }
}
