//! Lets the compiler check, for each publish, that the channel is routed.

/// A type that [`routes!`](crate::routes) makes routes channel `C` to a handler. Only the macro implements this.
pub trait RoutesChannel<C> {}

/// A channel that `R` routes to a handler, so that [`Publisher<R>`](crate::routing::Publisher) may publish on it. `R` is a
/// type that [`routes!`](crate::routes) makes, or [`Unrouted`].
#[diagnostic::on_unimplemented(
    message = "channel `{Self}` is published through `Publisher<{R}>`, but `{R}` routes it to no handler",
    label = "`{R}` has no handler for this channel",
    note = "add `{Self} => YourHandler` to the `pubsub::routes!` of `{R}`",
    note = "if another application handles the channel, publish with `Publisher<Unrouted>`"
)]
pub trait RoutedIn<R> {}

#[diagnostic::do_not_recommend]
impl<C, R: RoutesChannel<C>> RoutedIn<R> for C {}

/// The routes of a service that handles nothing itself: [`Publisher<Unrouted>`](crate::routing::Publisher) publishes on
/// every channel, and nothing checks that a subscription exists.
#[derive(Debug)]
pub enum Unrouted {}

impl<C> RoutesChannel<C> for Unrouted {}
