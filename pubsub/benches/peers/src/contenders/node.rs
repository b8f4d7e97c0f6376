//! The peers in JavaScript: graphile-worker and pg-boss.

use crate::contender::{Contender, Program, Setting};
use crate::workload::Workload;

const COUNT: &str = "select count(*) from graphile_worker._private_jobs";

pub(super) const GRAPHILE_WORKER: Contender = Contender {
    name: "graphile-worker (Node)",
    program: Program::Node { script: "graphile_worker.mjs", package: "graphile-worker" },
    published: COUNT,
    unsettled: COUNT,
    refuses: &[(Workload::UpdateAndSettle, "a handler cannot settle its job in a transaction of its own")],
    settings: &[
        Setting {
            setting: "24 concurrent jobs, 25 connections, a local queue of 500, batch delays of 0",
            source: "worker.graphile.org/docs/performance",
        },
        Setting {
            setting: "at 100 events per second no local queue and no batches",
            source: "the same: both trade latency for throughput",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher adds a job for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: four hours by default",
        "settling in the handler's transaction",
    ],
};

pub(super) const PG_BOSS: Contender = Contender {
    name: "pg-boss",
    program: Program::Node { script: "pg_boss.mjs", package: "pg-boss" },
    published: "select count(*) from pgboss.job",
    unsettled: "select count(*) from pgboss.job where state < 'completed'",
    refuses: &[],
    settings: &[
        Setting {
            setting: "batches of 100 by 2 workers, the next at once while a batch is full (`burstWhenBatchFull`)",
            source: "pgboss.io/api/workers",
        },
        Setting {
            setting: "`useListenNotify` and `notify` for latency",
            source: "pgboss.io/api/workers, pgboss.io/api/queues",
        },
        Setting {
            setting: "`transactional` to settle with the update, in one transaction for a batch",
            source: "pgboss.io/api/workers",
        },
    ],
    lacks: &[
        "a log that can be read again: an event is copied for each queue that subscribes",
        "rerun within seconds after the death of a process: 15 minutes by default",
        "settling each delivery of a batch in its own handler's transaction",
    ],
};
