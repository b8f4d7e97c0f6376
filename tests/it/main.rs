//! The promises, each in a module of its name.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion, also in what the tests share")]

mod bad_input;
mod bell;
mod crash;
mod draining;
mod failover;
mod fan_out;
mod fencing;
mod migrating;
mod nothing_lost;
mod ordered;
mod ordered_moved;
mod other_languages;
mod own_actors;
mod partitions;
mod pins;
mod plans;
mod poison;
mod privileges;
mod publishing;
mod quickstart;
mod recovery;
mod removal;
mod restore;
mod restore_at_random;
mod retention;
mod retries;
mod roles;
mod routes;
mod schemas;
mod seek;
mod seek_under_load;
mod shadowing;
mod starting;
mod storms;
mod strict;
mod supervision;
mod throwaway_server;
mod timeouts;
mod tracing_fields;
mod troubled_actors;
mod unread;
mod upgrade;
