//! Publishing on the channels of a table of routes.

use crate::contract::routed::RoutedIn;
use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::published::Published;
use crate::store::executor::Executor;
use crate::store::publish::{self, PublishOptions};
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;

// The futures are boxed. The type of an `async fn` repeats the bounds of its parameters, so the compiler would repeat an error
// about them at `.await`.
type Publishing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Publishes on the channels that `R` routes, and on no others. The compiler checks this. `R` is a type that
/// [`routes!`](crate::routes) makes, or [`Unrouted`](crate::routing::Unrouted).
///
/// A publisher has no content and costs nothing. Copy it wherever events are published.
///
/// # Examples
/// ```
/// use actix::{Actor, Context, Handler};
/// use pubsub::routing::Publisher;
/// use pubsub::{Channel, Delivery, Handled, Published};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("order.paid")]
/// struct OrderPaid {
///     id: i64,
/// }
///
/// #[derive(Default)]
/// struct Billing;
///
/// impl Actor for Billing {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Delivery<OrderPaid>> for Billing {
///     type Result = Handled;
///
///     fn handle(&mut self, _: Delivery<OrderPaid>, _: &mut Self::Context) -> Handled {
///         Ok(())
///     }
/// }
///
/// pubsub::routes! {
///     App { OrderPaid => Billing }
/// }
///
/// async fn pay(
///     publisher: Publisher<App>,
///     transaction: &tokio_postgres::Transaction<'_>,
/// ) -> Result<Published, pubsub::Error> {
///     publisher.publish(transaction, &OrderPaid { id: 17 }).await
/// }
/// ```
///
/// A channel that `App` routes nowhere does not compile:
///
/// ```compile_fail,E0277
/// # use pubsub::{Channel, routing::Publisher};
/// # #[derive(serde::Serialize, serde::Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// # pubsub::routes! { App {} }
/// # async fn example(publisher: Publisher<App>, transaction: &tokio_postgres::Transaction<'_>) {
/// publisher.publish(transaction, &Sms { msg: "hello".into() }).await;
/// # }
/// ```
pub struct Publisher<R> {
    routes: PhantomData<fn() -> R>,
}

impl<R> Publisher<R> {
    /// Returns a publisher for the channels of `R`.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: PhantomData }
    }

    /// Publishes an event in the caller's transaction, or through a running [`PubSub`](crate::PubSub) in a transaction of its
    /// own, like [`publish`](crate::publish).
    ///
    /// # Errors
    /// As [`publish`](crate::publish).
    pub fn publish<'a, C: Channel + RoutedIn<R>>(
        &self,
        executor: impl Executor + 'a,
        event: &C,
    ) -> Publishing<'a, Published> {
        Box::pin(publish::begin(executor, event, PublishOptions::nothing()))
    }

    /// Publishes an event with a key, a deduplication key or headers, like [`publish_with`](crate::publish_with).
    ///
    /// # Errors
    /// As [`publish`](crate::publish).
    pub fn publish_with<'a, C: Channel + RoutedIn<R>>(
        &self,
        executor: impl Executor + 'a,
        event: &C,
        options: &'a PublishOptions,
    ) -> Publishing<'a, Published> {
        Box::pin(publish::begin(executor, event, options))
    }

    /// Publishes many events of one channel, like [`publish_all`](crate::publish_all).
    ///
    /// # Errors
    /// As [`publish_all`](crate::publish_all).
    pub fn publish_all<'a, C: Channel + RoutedIn<R> + Sync>(
        &self,
        executor: impl Executor + 'a,
        events: impl IntoIterator<Item = &'a C, IntoIter: Send> + Send + 'a,
    ) -> Publishing<'a, u64> {
        Box::pin(publish::publish_all(executor, events))
    }
}

// These are written by hand, because derived ones would require the same traits of `R`.
impl<R> Clone for Publisher<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Publisher<R> {}

impl<R> Default for Publisher<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Publisher<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish()
    }
}
