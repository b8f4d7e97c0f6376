//! The peer in Python: PgQueuer.

use crate::contender::{Contender, Program, Setting};
use crate::workload::Workload;

const COUNT: &str = "select count(*) from pgqueuer";

pub(super) const PGQUEUER: Contender = Contender {
    name: "PgQueuer",
    program: Program::Python { script: "pgqueuer_peer.py", package: "pgqueuer" },
    published: COUNT,
    unsettled: COUNT,
    refuses: &[(Workload::UpdateAndSettle, "a handler cannot settle its job in a transaction of its own")],
    settings: &[
        Setting {
            setting: "asyncpg, uvloop, 5 consumers in the process",
            source: "tools/benchmark.py of PgQueuer",
        },
        Setting {
            setting: "batches of 100",
            source: "the parameter `batch_size` of `PgQueuer.run`, 10 by default",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher enqueues a job for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: 30 seconds by default",
        "settling in the handler's transaction",
    ],
};
