//! In an actix-web application: extractors, the order of the end, and the health of the process.

mod documented;
mod extractors;
mod health;
mod http;
mod serving;
