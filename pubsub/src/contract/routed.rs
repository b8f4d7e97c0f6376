//! Which channels a table of routes has: asked by the compiler, at every publish.

/// Of the type that [`routes!`](crate::routes) makes: it routes channel `C` to a handler. Written by the macro alone.
pub trait RoutesChannel<C> {}

/// Of a channel: `R` routes it to a handler, so that [`Publisher<R>`](crate::routing::Publisher) may publish on it. `R` is what
/// [`routes!`](crate::routes) has made, or [`Unrouted`].
#[diagnostic::on_unimplemented(
    message = "channel `{Self}` is published through `Publisher<{R}>`, but `{R}` routes it to no handler",
    label = "no handler for this channel in `{R}`",
    note = "add `{Self} => YourHandler` to the `pubsub::routes!` of `{R}`",
    note = "if its handlers live in another application, publish with `Publisher<Unrouted>`"
)]
pub trait RoutedIn<R> {}

#[diagnostic::do_not_recommend]
impl<C, R: RoutesChannel<C>> RoutedIn<R> for C {}

/// The routes of a service whose handlers live elsewhere: [`Publisher<Unrouted>`](crate::routing::Publisher) publishes on every
/// channel, and nobody checks that anything subscribes to it.
#[derive(Debug)]
pub enum Unrouted {}

impl<C> RoutesChannel<C> for Unrouted {}
