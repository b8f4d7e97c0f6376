//! The promises. Each has a module of its name.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion, also in what the tests share")]

mod bad_input;
mod bell;
mod compatible;
mod dedupe;
mod draining;
mod errors;
mod examples;
mod fan_out;
mod hosts;
mod idle;
mod keys;
mod many;
mod memory;
mod migrating;
mod nothing_lost;
mod observing;
mod ordered;
mod other_languages;
mod pinned;
mod plans;
mod publishing;
mod quickstart;
mod read_back;
mod recovery;
mod redaction;
mod restore;
mod retention;
mod retries;
mod roles;
mod routes;
mod schemas;
mod seek;
mod servers;
mod sessions;
mod sql_contract;
mod starting;
mod subscription;
mod supervision;
mod throwaway_server;
mod timeouts;
mod tracing_fields;
mod unsubscribe;
mod versions;
