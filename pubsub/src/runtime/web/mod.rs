//! The runtime in an actix-web application: extractors, an orderly end, and the health of the process.

mod extract;
pub(crate) mod health;
mod report;
mod serve;
mod signals;
