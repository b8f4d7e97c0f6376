//! What `#[derive(Channel)]` accepts, and what it says about everything else.
//!
//! The messages are rustc's too, so they are compared on one toolchain only. After a change, rewrite them with
//! `TRYBUILD=overwrite cargo test -p pubsub-tests --test ui`, and read every one.

#[test]
fn every_mistake_has_one_message_on_its_token() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
    cases.pass("ui/pass/*.rs");
}
