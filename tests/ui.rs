//! `#[derive(Channel)]` and `routes!`: inputs that compile, and the error messages for those that do not.
//!
//! Some of the text is rustc's, so the messages are compared on one toolchain only. After a change, rewrite them with
//! `TRYBUILD=overwrite cargo test -p pubsub-tests --test ui`, and read each one.

use std::fs;
use std::path::Path;

/// Copies the lock files next to the manifest that trybuild writes, where the derive searches for them.
fn copy_lock_files() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let directory = target.join("tests/trybuild/pubsub-tests/pubsub.lock.d");
    fs::create_dir_all(&directory).expect("a directory for the copies");
    for entry in fs::read_dir("ui/pubsub.lock.d").expect("the lock files of the cases") {
        let file = entry.expect("a lock file").path();
        fs::copy(&file, directory.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

#[test]
fn each_mistake_has_one_message_on_its_token() {
    copy_lock_files();
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
    cases.pass("ui/pass/*.rs");
}
