//! Says what to run, before it runs.

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
    /// Begins a runtime on the database behind a `postgres://` URL or a libpq connection string.
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
    pub fn builder(database_url: impl Into<String>) -> Builder {
        let setup = Setup {
            database_url: database_url.into(),
            config: Config::default(),
            declarations: BTreeMap::new(),
            retentions: BTreeMap::new(),
            subscriptions: Vec::new(),
        };
        Builder { setup }
    }
}

impl Builder {
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

    /// Declares a channel and sets how long its events stay in the log after every subscription has handled them. Takes
    /// precedence over the channel's own [`retention`](Channel::RETENTION), unless it is [`Retention::Default`]. Default: 7 days.
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
    /// `factory` makes the actor, on a thread of its own, now and after each of its panics. The actor must be a plain
    /// `actix` actor with `Context<Self>`; its handler may answer with anything that actix allows: [`Handled`],
    /// `ResponseFuture<Handled>`, `ResponseActFuture<Self, Handled>`, `AtomicResponse<Self, Handled>`.
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

    /// Subscribes with settings of the subscription's own. Otherwise [`subscribe`](Self::subscribe).
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

    /// Makes sure that a subscription exists whose handler runs in other processes.
    pub(super) fn subscribe_elsewhere<C: Channel>(self, name: &str, options: SubscribeOptions) -> Self {
        let mut builder = self.declare::<C>();
        builder.setup.subscriptions.push(SubscriptionSetup::elsewhere::<C>(name.to_owned(), options));
        builder
    }

    /// Subscribes a closure to a channel: for handlers without a state of their own.
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

    /// Subscribes a closure with settings of the subscription's own. Otherwise [`subscribe_fn`](Self::subscribe_fn).
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

    /// Time between two polls of a subscription that has nothing to do. A poll covers a notification that was lost. From 1 ms
    /// to 24 h. Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.setup.config.poll_interval = interval;
        self
    }

    /// Time between two heartbeats, which tell the database that this process is alive. From 10 ms to 1 h. Default: 1 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.setup.config.heartbeat_interval = interval;
        self
    }

    /// Time without a heartbeat after which other processes take over this process's events. At least twice the
    /// [`heartbeat_interval`](Self::heartbeat_interval). Default: 6 s.
    ///
    /// A process that was killed is noticed sooner, because its connection ends.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.setup.config.silence_limit = limit;
        self
    }

    /// Age from which on the unread events of a subscription are reported, in a warning that names the subscription. They keep
    /// the log from being trimmed. Default: 1 hour.
    pub fn report_unread_after(mut self, age: Duration) -> Self {
        self.setup.config.report_unread_after = age;
        self
    }

    /// Age from which on an open transaction is reported, in a warning that names its owner. It keeps the log from being
    /// trimmed and the database from cleaning up. Default: 5 minutes.
    pub fn report_transactions_after(mut self, age: Duration) -> Self {
        self.setup.config.report_transactions_after = age;
        self
    }

    /// Most connections for claiming, settling and publishing, from 1 to 10,000. The runtime opens two more: one listens and
    /// one beats. Default: 4.
    pub fn connections(mut self, connections: usize) -> Self {
        self.setup.config.connections = connections;
        self
    }

    /// Writes what the payloads of the declared channels look like, without a database: those that derive
    /// `schemars::JsonSchema`. [`schema::export`](crate::schema::export) writes those of a database.
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

    /// Starts everything, and returns once the subscriptions exist: what is published from then on is delivered.
    ///
    /// Must be called inside an actix system. The runtime takes a thread for itself and one for each subscription, so that
    /// a handler that blocks its thread holds up nobody else.
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
