//! The test kit: what it promises to the tests of an application, and what it says when they fail.

mod handle;
mod harness;
mod published;

use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

/// Returns what an assertion says that fails.
fn complaint<T>(assertion: impl FnOnce() -> T) -> String {
    message(&*catch_unwind(AssertUnwindSafe(|| drop(assertion()))).expect_err("the assertion fails"))
}

/// The same of one that awaits.
async fn complaint_of(assertion: impl Future<Output = ()>) -> String {
    message(&*AssertUnwindSafe(assertion).catch_unwind().await.expect_err("the assertion fails"))
}
