//! L1: the types of the domain, without database, actors and decisions.

pub(crate) mod backoff;
pub(crate) mod channel;
pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod dropped_channel;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod limits;
pub(crate) mod outcome;
pub(crate) mod payload;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod published;
pub(crate) mod retention;
pub(crate) mod seek;
pub(crate) mod settings;
pub(crate) mod unsubscribed;
