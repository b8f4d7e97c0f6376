//! Builds a runtime from routes: which handler gets which channel, and how each handler is made.
//!
//! Items that are public here and not re-exported are only for the expansion of [`routes!`](crate::routes).

pub mod handlers;
pub mod publisher;

use super::builder::Builder;
use super::options::SubscribeOptions;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use actix::{Actor, Context, Handler};
use handlers::{Complete, Factories, Factory, Handlers};
use std::marker::PhantomData;

/// Defines a type that says which handler gets which channel. The runtime is built from it, and the compiler checks every publish
/// against it.
///
/// ```
/// use actix::{Actor, Context, Handler};
/// use pubsub::{Channel, Delivery, Handled, PubSub, SubscribeOptions};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("email")]
/// struct Email {
///     receiver: String,
/// }
///
/// struct Mailer {
///     host: String,
/// }
///
/// #[derive(Default)]
/// struct AuditLog;
/// #
/// # impl Actor for Mailer { type Context = Context<Self>; }
/// # impl Handler<Delivery<Email>> for Mailer {
/// #     type Result = Handled;
/// #     fn handle(&mut self, _: Delivery<Email>, _: &mut Self::Context) -> Handled { Ok(()) }
/// # }
/// # impl Actor for AuditLog { type Context = Context<Self>; }
/// # impl Handler<Delivery<Email>> for AuditLog {
/// #     type Result = Handled;
/// #     fn handle(&mut self, _: Delivery<Email>, _: &mut Self::Context) -> Handled { Ok(()) }
/// # }
///
/// pubsub::routes! {
///     /// What the shop tells the world.
///     pub App {
///         Email => [Mailer, AuditLog as "audit" with SubscribeOptions::new().concurrency(1)],
///     }
/// }
///
/// # async fn example(url: &str) -> Result<(), pubsub::Error> {
/// let pubsub = PubSub::builder(url)
///     .routes(App::all().handler(|| Mailer { host: "smtp.shop.example".into() }))
///     .start()
///     .await?;
/// App::publisher().publish(&pubsub, &Email { receiver: "ada@shop.example".into() }).await?;
/// # Ok(())
/// # }
/// ```
///
/// # The table
/// The table has a visibility and a name, and then entries in braces: `Channel => Handler` or `Channel => [Handler, ..]`. Each
/// handler is an actor with `Handler<Delivery<Channel>>`. Each is a separate subscription, so each gets every event.
///
/// The durable name of a subscription is the name of its handler's type in kebab case, such as `audit-log` for `AuditLog`.
/// `as ".."` sets another name. **When you rename the type, keep the old name with `as`.** Otherwise a new subscription starts,
/// and the old one stays unread. `with` takes [`SubscribeOptions`], up to the next comma.
///
/// # The type
/// The macro makes a type without values and three functions. [`Builder::routes`] takes the result of the first two:
/// - `App::all()` runs every handler in this process. A handler without `Default` needs a factory:
///   [`.handler(|| Mailer::new(..))`](Handlers::handler). A missing factory is a compile error.
/// - `App::only()` runs only the handlers that get a factory. It creates the other subscriptions too, for other processes to
///   run. A process that only publishes adds no factory.
/// - `App::publisher()` returns a [`Publisher<App>`](crate::routing::Publisher), which publishes only on the listed channels.
///
/// # Compile errors
/// These do not compile: a handler that cannot take its channel; a channel that is listed twice, or routed twice to one
/// subscription; two channels of one name, even from different crates.
#[macro_export]
macro_rules! routes {
    ($($table:tt)*) => {
        $crate::__private::routes! { $crate $($table)* }
    };
}

/// Routes, as [`routes!`](crate::routes) writes them.
pub trait Routes {
    /// Adds every route.
    fn plan(plan: Plan) -> Plan;
}

/// Implemented once for each handler of routes: a handler that is listed under two paths is a compile error.
pub trait SpellsHandlerOneWay<H> {}

/// Implemented by every actor that handles the events of channel `C`, that is, with `Handler<Delivery<C>>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the events of channel `{C}`",
    label = "needs `Handler<Delivery<{C}>>`",
    note = "write `impl Handler<Delivery<{C}>> for {Self}`, and `impl Actor for {Self} {{ type Context = Context<Self>; }}`"
)]
pub trait Handles<C>: Sized + 'static {
    /// Subscribes the actor. Without a factory it runs in other processes.
    fn subscribe(
        builder: Builder,
        name: &str,
        options: SubscribeOptions,
        factory: Option<Factory<Self>>,
    ) -> Builder;
}

#[diagnostic::do_not_recommend]
impl<C, H> Handles<C> for H
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
{
    fn subscribe(
        builder: Builder,
        name: &str,
        options: SubscribeOptions,
        factory: Option<Factory<H>>,
    ) -> Builder {
        match factory {
            Some(factory) => builder.subscribe_with::<C, H>(name, options, move || factory()),
            None => builder.subscribe_elsewhere::<C>(name, options),
        }
    }
}

/// The routes of a [`Routes`], on their way into a [`Builder`].
#[derive(Debug)]
pub struct Plan {
    builder: Builder,
    factories: Factories,
}

impl Plan {
    /// Declares a channel, and returns a plan that takes its handlers.
    pub fn channel<C>(self, described: &ChannelEntry<C>) -> ChannelPlan<C> {
        let Self { builder, factories } = self;
        ChannelPlan { plan: Self { builder: (described.declare)(builder), factories }, channel: PhantomData }
    }
}

/// A listed channel. Its type need not be known to implement [`Channel`].
#[derive(Debug)]
pub struct ChannelEntry<C> {
    declare: fn(Builder) -> Builder,
    /// The channel's name.
    pub name: &'static str,
    channel: PhantomData<fn() -> C>,
}

/// Implemented by channels. A type that is no channel fails here and nowhere else: its [`ChannelEntry`] is of no known type,
/// and the compiler says no more about what is done with it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not bound to a channel",
    label = "not a channel",
    note = "add `#[derive(pubsub::Channel)]` and `#[channel(\"some.name\")]` to `{Self}`"
)]
pub trait ListedChannel {
    /// The type of the description, which is [`ChannelEntry`].
    type Described;
    /// The channel's entry.
    const DESCRIBED: Self::Described;
}

#[diagnostic::do_not_recommend]
impl<C: Channel> ListedChannel for C {
    type Described = ChannelEntry<C>;
    const DESCRIBED: ChannelEntry<C> =
        ChannelEntry { declare: Builder::declare::<C>, name: C::NAME, channel: PhantomData };
}

/// Returns the description of a channel.
#[must_use]
pub const fn describe<C: ListedChannel>() -> C::Described {
    C::DESCRIBED
}

/// One channel of a [`Plan`].
#[derive(Debug)]
pub struct ChannelPlan<C> {
    plan: Plan,
    channel: PhantomData<fn() -> C>,
}

impl<C> ChannelPlan<C> {
    /// Routes the channel to a handler, which runs in this process if it has a factory.
    #[must_use]
    pub fn to<H: Handles<C>>(self, name: &str, options: SubscribeOptions) -> Self {
        let Plan { builder, factories } = self.plan;
        let factory = factories.get::<H>();
        Self {
            plan: Plan { builder: H::subscribe(builder, name, options, factory), factories },
            channel: PhantomData,
        }
    }

    /// Returns the plan with this channel.
    pub fn end(self) -> Plan {
        self.plan
    }
}

impl Builder {
    /// Declares the channels of a table of routes, and subscribes its handlers. See [`routes!`](crate::routes).
    ///
    /// `handlers` is `App::all()` or `App::only()`, with factories. After `only`, the handlers without a factory run in other
    /// processes. Their subscriptions are created all the same, so that they also get the events that are published before the
    /// first of those processes starts.
    pub fn routes<R: Routes, S: Complete>(self, handlers: Handlers<R, S>) -> Self {
        R::plan(Plan { builder: self, factories: handlers.into_factories() }).builder
    }
}
