//! The builder of a runtime.

use super::options::SubscribeOptions;
use super::pubsub::PubSub;
use super::setup::{Declaration, Setup, SubscriptionSetup};
use super::start;
use crate::config::Config;
#[cfg(feature = "schema")]
use crate::contract::schema::{self, ChannelSchema, SchemaFormat};
use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::failure::Handled;
use crate::model::retention::Retention;
use crate::store::Target;
use actix::{Actor, Context, Handler, ResponseFuture};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::Instrument;

/// Builds a [`PubSub`]. See [`PubSub::builder`].
#[derive(Debug)]
#[must_use = "nothing runs until `start`"]
pub struct Builder {
    setup: Setup,
}

impl PubSub {
    /// Returns a builder of a runtime on a database, given as a [`Target`](crate::Target), a `postgres://` URL or a libpq connection
    /// string. [`Builder::start`] says whether it can be used.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::{Channel, Delivery, PubSub};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms")]
    /// # struct Sms { msg: String }
    /// # async fn example() -> Result<(), pubsub::Error> {
    /// let url = "postgres://localhost/shop";
    /// pubsub::migrate(url).await?;
    /// let pubsub = PubSub::builder(url)
    ///     .subscribe_fn("log", |sms: Delivery<Sms>| async move {
    ///         println!("{}", sms.msg);
    ///         Ok(())
    ///     })
    ///     .start()
    ///     .await?;
    /// pubsub::publish(&pubsub, &Sms { msg: "hello".into() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(target: impl TryInto<Target, Error: Into<Error>>) -> Builder {
        let setup = Setup {
            target: target.try_into().map_err(Into::into),
            config: Config::default(),
            declarations: BTreeMap::new(),
            retentions: BTreeMap::new(),
            subscriptions: Vec::new(),
        };
        Builder { setup }
    }
}

impl Builder {
    /// Names the server itself, if the database of [`PubSub::builder`] is a pooler in transaction mode, as
    /// [`Target::direct`](crate::Target::direct) does. [`Builder::start`] says whether it can be used.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::PubSub;
    /// # async fn example() -> Result<(), pubsub::Error> {
    /// let server = "postgres://app@db.example/shop";
    /// pubsub::migrate(server).await?;
    /// let pubsub = PubSub::builder("postgres://app@pooler.example:6432/shop").direct(server).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn direct(mut self, server: impl TryInto<Target, Error: Into<Error>>) -> Self {
        self.setup.target = self.setup.target.and_then(|pooler| pooler.direct(server));
        self
    }

    /// Declares a channel that this process publishes on but does not subscribe to. Subscribing declares it too.
    pub fn declare<C: Channel>(mut self) -> Self {
        let declaration = Declaration {
            version: C::VERSION,
            description: C::DESCRIPTION,
            retention: C::RETENTION,
            fingerprint: C::FINGERPRINT,
            strict: C::STRICT,
            json_schema: C::json_schema,
        };
        self.setup.declarations.insert(C::NAME, declaration);
        self
    }

    /// Declares a channel, and sets how long its events stay in the log after every subscription has handled them. This takes
    /// precedence over the channel's own [`retention`](Channel::RETENTION), except for [`Retention::Default`]. Default: 7 days.
    pub fn retention<C: Channel>(self, retention: Retention) -> Self {
        let mut builder = self.declare::<C>();
        builder.setup.retentions.insert(C::NAME, retention);
        builder
    }

    /// Subscribes an actix actor to a channel.
    ///
    /// `name` is the subscription's durable name: 1 to 63 characters of `a-z 0-9 . _ -`. Processes that subscribe to the
    /// same channel under the same name share its events; different names each get all of them. A new subscription starts
    /// with the events that commit after its first `start`.
    ///
    /// `factory` makes the actor on a separate thread, at the start and after each panic. The thread runs a tokio runtime, so calls
    /// that block inside one, such as `blocking_recv` or `Runtime::block_on`, panic there: move them into
    /// `actix_rt::task::spawn_blocking`. Other blocking work holds up this handler alone. The actor must be a plain `actix`
    /// actor with `Context<Self>`. Its handler may use any response type of actix: [`Handled`], `ResponseFuture<Handled>`,
    /// `ResponseActFuture<Self, Handled>`, `AtomicResponse<Self, Handled>`.
    pub fn subscribe<C, H>(
        self,
        name: impl Into<String>,
        factory: impl Fn() -> H + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    {
        self.subscribe_with::<C, H>(name, SubscribeOptions::default(), factory)
    }

    /// Subscribes an actor with settings for this subscription. Otherwise like [`subscribe`](Self::subscribe).
    pub fn subscribe_with<C, H>(
        self,
        name: impl Into<String>,
        options: SubscribeOptions,
        factory: impl Fn() -> H + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    {
        let mut builder = self.declare::<C>();
        builder.setup.subscriptions.push(SubscriptionSetup::new::<C, H>(name.into(), options, factory));
        builder
    }

    /// Creates a subscription whose handler runs in other processes.
    pub(super) fn subscribe_elsewhere<C: Channel>(self, name: &str, options: SubscribeOptions) -> Self {
        let mut builder = self.declare::<C>();
        builder.setup.subscriptions.push(SubscriptionSetup::elsewhere::<C>(name.to_owned(), options));
        builder
    }

    /// Subscribes a closure to a channel, for handlers without state.
    pub fn subscribe_fn<C, Fut>(
        self,
        name: impl Into<String>,
        handle: impl Fn(Delivery<C>) -> Fut + Clone + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        Fut: Future<Output = Handled> + 'static,
    {
        self.subscribe_fn_with(name, SubscribeOptions::default(), handle)
    }

    /// Subscribes a closure with settings for this subscription. Otherwise like [`subscribe_fn`](Self::subscribe_fn).
    pub fn subscribe_fn_with<C, Fut>(
        self,
        name: impl Into<String>,
        options: SubscribeOptions,
        handle: impl Fn(Delivery<C>) -> Fut + Clone + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        Fut: Future<Output = Handled> + 'static,
    {
        self.subscribe_with::<C, _>(name, options, move || Closure(handle.clone()))
    }

    /// Sets the time between two polls of a subscription that sleeps. A poll covers a lost notification. From 1 ms to 24 h.
    /// Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.setup.config.poll_interval = interval;
        self
    }

    /// Sets the time between two heartbeats, which tell the database that this process is alive. From 10 ms to 1 h. Default: 1
    /// s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.setup.config.heartbeat_interval = interval;
        self
    }

    /// Sets the time without a heartbeat after which other processes take over this process's deliveries. At least twice the
    /// [`heartbeat_interval`](Self::heartbeat_interval). Default: 6 s.
    ///
    /// Other processes notice the death of a killed process sooner, because its connection ends.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.setup.config.silence_limit = limit;
        self
    }

    /// Sets the age from which a warning reports the unread events of a subscription. It names the subscription. The log cannot
    /// be trimmed beyond these events. Default: 1 hour.
    pub fn report_unread_after(mut self, age: Duration) -> Self {
        self.setup.config.report_unread_after = age;
        self
    }

    /// Sets the age from which a warning reports an open transaction. It names the owner. Such a transaction keeps the log from
    /// being trimmed, and the database from removing old rows. Default: 5 minutes.
    pub fn report_transactions_after(mut self, age: Duration) -> Self {
        self.setup.config.report_transactions_after = age;
        self
    }

    /// Sets the most connections for claiming, settling and publishing, from 1 to 10,000. The runtime opens two more: one to
    /// listen and one for the heartbeat. Default: 4.
    pub fn connections(mut self, connections: usize) -> Self {
        self.setup.config.connections = connections;
        self
    }

    /// Writes the schemas of the declared channels whose payloads derive `schemars::JsonSchema`. Needs no database.
    /// [`schema::export`](crate::schema::export) writes the schemas that a database has.
    ///
    /// # Examples
    /// ```
    /// use pubsub::schema::SchemaFormat;
    /// use pubsub::{Channel, PubSub};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, schemars::JsonSchema, Channel)]
    /// #[channel("sms")]
    /// struct Sms {
    ///     msg: String,
    /// }
    ///
    /// let types = PubSub::builder("").declare::<Sms>().export(SchemaFormat::TypeScript);
    /// assert!(types.contains("msg: string;"));
    /// ```
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn export(&self, format: SchemaFormat) -> String {
        let known = |(channel, declaration): (&&str, &Declaration)| {
            let Declaration { version, description, json_schema, .. } = *declaration;
            let schema = json_schema()?;
            let (channel, description) = ((*channel).to_owned(), description.to_owned());
            Some(ChannelSchema { channel, version, description, schema })
        };
        let schemas: Vec<ChannelSchema> = self.setup.declarations.iter().filter_map(known).collect();
        schema::write(&schemas, format)
    }

    /// Starts the runtime, and returns once the subscriptions exist. Events that are published from then on are delivered.
    ///
    /// Must be called inside an actix system. The runtime has one thread for itself and one for each subscription, so a handler
    /// that blocks its thread does not delay other subscriptions.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] and its like if a setting or a name cannot be used; [`Error::SchemaMissing`] and its like if
    /// [`migrate`](crate::migrate) has not run; [`Error::NoActixSystem`]; or a connection error.
    ///
    /// # Cancel safety
    /// Dropping the future stops the runtime. Channels and subscriptions that were already created remain.
    pub async fn start(self) -> Result<PubSub, Error> {
        start::start(self.setup).await
    }
}

/// The actor around a closure.
struct Closure<F>(F);

impl<F: Unpin + 'static> Actor for Closure<F> {
    type Context = Context<Self>;
}

impl<C, F, Fut> Handler<Delivery<C>> for Closure<F>
where
    C: Channel,
    F: Fn(Delivery<C>) -> Fut + Unpin + 'static,
    Fut: Future<Output = Handled> + 'static,
{
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, delivery: Delivery<C>, _: &mut Self::Context) -> Self::Result {
        let span = delivery.span().clone();
        Box::pin((self.0)(delivery).instrument(span))
    }
}
