//! Counts the instructions and the allocations that an event costs its client: `cargo bench --bench instructions` prints lines
//! `figure NAME VALUE UNIT`, and with `-- check` it fails if a count is far from the recorded one.
//!
//! Needs valgrind. Each workload is this binary started again under callgrind, against a PostgreSQL server of the benchmark's own,
//! which is not counted. It runs with some events and with twice as many, so that their difference has no start and no end of a
//! process in it. Other work of the machine changes the counts of a backlog by up to about 2 %: `docs/benchmarks.md` has
//! the spread.

mod callgrind;
mod databases;
mod figures;
mod order;
mod recorded;
mod stages;
mod work;
mod workload;

use pubsub::testing::{Options, Server};
use std::process::ExitCode;
use workload::Workload;

/// The argument that compares the counts with the recorded ones.
const CHECK: &str = "check";

fn main() -> ExitCode {
    actix::System::new().block_on(async {
        if let Some((workload, url, events)) = work::part() {
            work::run(workload, &url, events).await;
            return ExitCode::SUCCESS;
        }
        let server = Server::start_with(Options::default()).expect("a server for the benchmark");
        let mut counts = Vec::new();
        for workload in Workload::ALL.into_iter().filter(|workload| is_wanted(workload.name())) {
            let runs = figures::count(&server, workload).await;
            figures::print(workload, &runs);
            let count = figures::median(&runs);
            counts.push((workload, count.instructions, count.allocations));
        }
        if is_named(CHECK) { recorded::check(&counts) } else { ExitCode::SUCCESS }
    })
}

fn is_named(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

/// Whether the command line names this workload, or none.
fn is_wanted(name: &str) -> bool {
    is_named(name) || !Workload::ALL.iter().any(|workload| is_named(workload.name()))
}
