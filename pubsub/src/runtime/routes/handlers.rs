//! The factories of the handlers of routes. The compiler refuses a handler without a factory.
//!
//! Items that are public here and not re-exported are only for the expansion of [`routes!`](crate::routes).

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Makes a handler. Shared by all its subscriptions.
pub type Factory<H> = Arc<dyn Fn() -> H + Send + Sync>;

/// The factories, by the types that they make.
#[derive(Default)]
pub struct Factories {
    by_type: HashMap<TypeId, Box<dyn Any>>,
}

impl Factories {
    fn put<H: 'static>(&mut self, factory: Factory<H>) {
        self.by_type.insert(TypeId::of::<H>(), Box::new(factory));
    }

    pub(super) fn get<H: 'static>(&self) -> Option<Factory<H>> {
        self.by_type.get(&TypeId::of::<H>())?.downcast_ref::<Factory<H>>().cloned()
    }
}

impl fmt::Debug for Factories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factories").field("factories", &self.by_type.len()).finish()
    }
}

/// The factories of the handlers of routes, and the choice of the handlers that run in this process. The functions `all` and
/// `only` of a type that [`routes!`](crate::routes) makes return one, and [`Builder::routes`](crate::Builder::routes) takes it.
#[must_use = "nothing is routed until `Builder::routes`"]
pub struct Handlers<R, S> {
    slots: S,
    routes: PhantomData<fn() -> R>,
}

impl<R, S> Handlers<R, S> {
    #[doc(hidden)]
    pub fn new() -> Self
    where
        S: Default,
    {
        Self { slots: S::default(), routes: PhantomData }
    }

    /// Adds the factory of a handler. It makes one actor for each channel that is routed to the handler, on the handler's
    /// thread, at the start and after each panic. With `all`, a handler that implements `Default` needs no factory.
    pub fn handler<H, At, Then>(self, factory: impl Fn() -> H + Send + Sync + 'static) -> Handlers<R, Then>
    where
        H: NeedsFactory<R, S, At, Then>,
    {
        Handlers { slots: H::give(self.slots, Arc::new(factory)), routes: PhantomData }
    }
}

impl<R, S: Complete> Handlers<R, S> {
    pub(super) fn into_factories(self) -> Factories {
        let mut factories = Factories::default();
        self.slots.collect(&mut factories);
        factories
    }
}

impl<R, S> fmt::Debug for Handlers<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

/// The place of one handler in the list of handlers, which is nested pairs: `(Slot<A, _>, (Slot<B, _>, ()))`.
#[derive(Debug)]
pub struct Slot<H, S> {
    state: S,
    handler: PhantomData<fn() -> H>,
}

impl<H, S: Default> Default for Slot<H, S> {
    fn default() -> Self {
        Self { state: S::default(), handler: PhantomData }
    }
}

/// The handler runs in this process, and has no factory yet.
#[derive(Debug, Default)]
pub struct WithoutFactory;

/// The handler runs in another process, unless it gets a factory.
#[derive(Debug, Default)]
pub struct RunsElsewhere;

/// The handler runs in this process.
pub struct WithFactory<H>(Factory<H>);

impl<H> fmt::Debug for WithFactory<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFactory").finish_non_exhaustive()
    }
}

/// Stands in for the list of handlers after a mistake in the macro, so that the mistake is the only error.
#[derive(Debug, Default)]
pub struct AfterMistake;

/// The first place of a list.
#[derive(Debug)]
pub struct First;

/// A later place of a list.
#[derive(Debug)]
pub struct Later<At>(PhantomData<At>);

/// Implemented by each handler that has no factory yet: it is at place `At` of the list `S` of `R`, and `Then` is the list with a
/// factory for it.
// This is a trait of the handler and not of the list. Otherwise, with one handler left, the compiler would infer that every
// factory makes that handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` needs no factory in `{R}`",
    label = "no `{Self}` without a factory is left here",
    note = "either no channel of `{R}` is routed to `{Self}`, or it has a factory already"
)]
pub trait NeedsFactory<R, S, At, Then>: Sized {
    /// Puts the factory into the list.
    fn give(slots: S, factory: Factory<Self>) -> Then;
}

macro_rules! takes_a_factory {
    ($($state:ty),*) => {$(
        #[diagnostic::do_not_recommend]
        impl<R, H, Rest> NeedsFactory<R, (Slot<H, $state>, Rest), First, (Slot<H, WithFactory<H>>, Rest)> for H {
            fn give(slots: (Slot<H, $state>, Rest), factory: Factory<H>) -> (Slot<H, WithFactory<H>>, Rest) {
                (Slot { state: WithFactory(factory), handler: PhantomData }, slots.1)
            }
        }
    )*};
}

takes_a_factory!(WithoutFactory, RunsElsewhere);

#[diagnostic::do_not_recommend]
impl<R, H, At, Head, Rest, Then> NeedsFactory<R, (Head, Rest), Later<At>, (Head, Then)> for H
where
    H: NeedsFactory<R, Rest, At, Then>,
{
    fn give(slots: (Head, Rest), factory: Factory<H>) -> (Head, Then) {
        (slots.0, H::give(slots.1, factory))
    }
}

#[diagnostic::do_not_recommend]
impl<R, H> NeedsFactory<R, AfterMistake, First, AfterMistake> for H {
    fn give(slots: AfterMistake, _: Factory<H>) -> AfterMistake {
        slots
    }
}

/// Implemented by lists of handlers in which each handler that needs a factory has one.
pub trait Complete {
    /// Moves the factories into `into`.
    fn collect(self, into: &mut Factories);
}

impl Complete for () {
    fn collect(self, _: &mut Factories) {}
}

impl Complete for AfterMistake {
    fn collect(self, _: &mut Factories) {}
}

impl<H: 'static, S: FactoryOf<H>, Rest: Complete> Complete for (Slot<H, S>, Rest) {
    fn collect(self, into: &mut Factories) {
        if let Some(factory) = self.0.state.factory() {
            into.put(factory);
        }
        self.1.collect(into);
    }
}

/// Implemented by the states of a slot that have a factory for `H`, or need none.
#[diagnostic::on_unimplemented(
    message = "the handler `{H}` has no factory",
    label = "needs a factory for `{H}`",
    note = "add `.handler(|| {H} {{ .. }})`, or implement `Default` for `{H}`",
    note = "if another process runs the handler, use `only` instead of `all`"
)]
pub trait FactoryOf<H> {
    /// `None` if the handler runs in another process.
    fn factory(self) -> Option<Factory<H>>;
}

#[diagnostic::do_not_recommend]
impl<H: Default + 'static> FactoryOf<H> for WithoutFactory {
    fn factory(self) -> Option<Factory<H>> {
        Some(Arc::new(H::default))
    }
}

#[diagnostic::do_not_recommend]
impl<H> FactoryOf<H> for WithFactory<H> {
    fn factory(self) -> Option<Factory<H>> {
        Some(self.0)
    }
}

#[diagnostic::do_not_recommend]
impl<H> FactoryOf<H> for RunsElsewhere {
    fn factory(self) -> Option<Factory<H>> {
        None
    }
}
