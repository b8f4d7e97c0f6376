//! What `#[derive(Channel)]` accepts, and what it says about everything else.
//!
//! The messages are rustc's too, so they are compared on one toolchain only. After a change, rewrite them with
//! `TRYBUILD=overwrite cargo test -p pubsub-tests --test ui`, and read every one.

use std::fs;
use std::path::Path;

/// Lock files are looked for beside the manifest, and trybuild writes one of its own.
fn put_locks_beside_the_manifest() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let locks = target.join("tests/trybuild/pubsub-tests/pubsub.lock.d");
    fs::create_dir_all(&locks).expect("a directory beside the build");
    for entry in fs::read_dir("ui/pubsub.lock.d").expect("the locks of the cases") {
        let file = entry.expect("a lock").path();
        fs::copy(&file, locks.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn each_mistake_has_one_message_on_its_token() {
    put_locks_beside_the_manifest();
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
    cases.pass("ui/pass/*.rs");
}
