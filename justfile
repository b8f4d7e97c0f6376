# Short names for what .ci/run does, step by step. `just` lists them.

_default:
    @just --list --unsorted

# Everything that a change must pass
ci:
    .ci/run

# Formatting; `just fmt` repairs it
check-fmt:
    cargo fmt --all --check
    cargo fmt --manifest-path pubsub/benches/peers/Cargo.toml --check

fmt:
    cargo fmt --all
    cargo fmt --manifest-path pubsub/benches/peers/Cargo.toml

# Lints, as errors
clippy:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Documentation, with its warnings as errors
doc:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --all-features --no-deps

# All tests; arguments go to cargo: `just test --test it crash`
test *arguments:
    cargo test --workspace {{ arguments }}

# The house rules alone
tidy:
    cargo test -p pubsub-tests --test tidy

# The stress test, for longer: `just stress 300`
stress seconds='60':
    PUBSUB_STRESS_SECONDS={{ seconds }} cargo test -p pubsub-tests --release --test stress -- --nocapture

# The fault suite, for longer: `just faults 3600`
faults seconds='600':
    PUBSUB_FAULTS_SECONDS={{ seconds }} cargo test -p pubsub-tests --test faults -- --nocapture random

# Every order in which sessions can call the SQL functions
interleave:
    PUBSUB_INTERLEAVE=all cargo test -p pubsub-tests --release --test interleave -- --nocapture

# Rewrites the expected compile errors; read every one
ui:
    TRYBUILD=overwrite cargo test -p pubsub-tests --test ui

# The figures of docs/benchmarks.md
bench:
    cargo bench --bench end_to_end

# The instructions and allocations of an event, compared with the recorded ones; needs valgrind
instructions:
    cargo bench -p pubsub --no-default-features --bench instructions -- check

# Other libraries in the same run; takes hours. `just peers --help` lists the options
peers *arguments:
    cargo run --release --locked --manifest-path pubsub/benches/peers/Cargo.toml -- {{ arguments }}

# Both crates as they would be published
package:
    cargo package --locked --allow-dirty -p pubsub-derive -p pubsub

# The story of the example, told once
demo:
    cargo run --example quickstart -- --demo

# Licences, advisories, sources; needs cargo-deny
deny:
    cargo deny check
