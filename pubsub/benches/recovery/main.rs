//! Measures recovery at default settings: `cargo bench --bench recovery` prints lines `figure NAME VALUE UNIT`.
//!
//! The benchmark starts its own PostgreSQL server with fsync on. A worker, which is this binary started again, and a survivor
//! in this process share one subscription under a steady load. The worker is killed or frozen at random times. Each event that
//! it had started and not finished is timed until it starts again.
//!
//! The handler takes 20 ms for an event. In the figures named `busy_`, the load is more than the survivor can handle alone. In
//! those named `uneven_`, one event in twenty takes 400 ms, which keeps leases open. Every event that the worker had leased is
//! an orphan. Orphans that may have started are handled alone, and slow ones hold up the others.

mod databases;
mod figures;
mod freezes;
mod kills;
mod load;
mod records;
mod work;
mod worker;

use pubsub::testing::{Options, Server};
use work::{BUSY, EVEN, UNEVEN};

/// How often the worker is killed in the first run. In the others it is a third of that.
const KILLS: usize = 30;

fn main() {
    actix::System::new().block_on(async {
        if let Some((url, work)) = worker::part() {
            return worker::work(url, work).await;
        }
        let options = Options { fsync: true, ..Options::default() };
        let server = Server::start_with(options).expect("a server for the benchmark");
        if is_wanted("kills") {
            kills::run(&server, "", EVEN, KILLS).await;
        }
        if is_wanted("busy") {
            kills::run(&server, "busy_", BUSY, KILLS / 3).await;
        }
        if is_wanted("uneven") {
            kills::run(&server, "uneven_", UNEVEN, KILLS / 3).await;
        }
        if is_wanted("freezes") {
            freezes::run(&server).await;
        }
    });
}

/// Whether the command line names this part of the benchmark, or none: `cargo bench --bench recovery -- freezes`.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}
