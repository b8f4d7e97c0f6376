//! Broken functions, which the interleaver must detect.

use crate::scenario::{
    CURSOR, DEAD_LETTERS, MAILBOX, ORDER, OWN_TRANSACTION, SEEK, SETTLEMENT, Scenario, TAKEOVER,
};

/// A function with a piece of its text replaced.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) function: &'static str,
    pub(crate) piece: &'static str,
    pub(crate) replacement: &'static str,
    /// A part of the violation.
    pub(crate) seen_as: &'static str,
    /// The scenario whose schedules show it.
    pub(crate) shown_by: &'static Scenario,
}

pub(crate) const ALL: [Mutant; 10] = [
    Mutant {
        name: "a settlement does not lock its lease",
        function: "pubsub.settle(bigint, bigint, bigint[], jsonb)",
        piece: " for update;",
        replacement: ";",
        seen_as: "settled twice",
        shown_by: &SETTLEMENT,
    },
    Mutant {
        name: "a takeover does not lock the leases that it ends",
        function: "pubsub.orphan_leases(bigint, text, text)",
        piece: "for update of l skip locked",
        replacement: "",
        seen_as: "settled twice",
        shown_by: &SETTLEMENT,
    },
    Mutant {
        name: "a settlement does not check its lease",
        function: "pubsub.settle(bigint, bigint, bigint[], jsonb)",
        piece: "    if not found then\n        return false;\n    end if;",
        replacement: "",
        seen_as: "settled twice",
        shown_by: &TAKEOVER,
    },
    Mutant {
        name: "the commit of a settlement in a transaction does not lock the lease",
        function: "pubsub.confirm_lease()",
        piece: " for key share;",
        replacement: ";",
        seen_as: "settled twice",
        shown_by: &OWN_TRANSACTION,
    },
    Mutant {
        name: "a claim forgets the transactions in flight",
        function: "pubsub.open_window(pubsub.cursors, text, bigint, bigint, bigint, boolean)",
        piece: "c.window_stragglers := pubsub.finished_stragglers(channel, c.read_snapshot, c.read_fence, c.window_snapshot);",
        replacement: "c.window_stragglers := null;",
        seen_as: "is lost",
        shown_by: &CURSOR,
    },
    Mutant {
        name: "two claims of a mailbox do not skip each other's deliveries",
        function: "pubsub.lock_due(integer, integer, integer, boolean, integer, bigint, pubsub.mailbox, integer)",
        piece: "for update skip locked",
        replacement: "",
        seen_as: "settled twice",
        shown_by: &MAILBOX,
    },
    Mutant {
        name: "a redrive keeps the dead letters that it returns",
        function: "pubsub.redrive(text, text, bigint, integer, timestamptz, text)",
        piece: "delete from pubsub.dead_letters d\n         where d.subscription = reader.id and d.event_id = any (array(select c.event_id from chosen c))\n        returning d.*",
        replacement: "select d.* from pubsub.dead_letters d join chosen c using (event_id)\n         where d.subscription = reader.id",
        seen_as: "left behind",
        shown_by: &DEAD_LETTERS,
    },
    Mutant {
        name: "a redrive does not expect that a seek has replayed its event",
        function: "pubsub.redrive(text, text, bigint, integer, timestamptz, text)",
        piece: "on conflict on constraint mailbox_pkey do update\n           set attempt = 0, panics = 0, crashes = 0, due_at = least(m.due_at, excluded.due_at)\n         where m.token is null",
        replacement: "",
        seen_as: "duplicate key",
        shown_by: &SEEK,
    },
    Mutant {
        name: "a claim does not check whether another process holds events of its lane",
        function: "pubsub.enter_lane(integer, integer, bigint, boolean, bigint[])",
        piece: "and (l.process <> enter_lane.process or l.token <> all (array_remove(known, null)))",
        replacement: "and false",
        seen_as: "of its key had ended",
        shown_by: &ORDER,
    },
    Mutant {
        name: "a claim does not park the events behind a failed event of their key",
        function: "pubsub.park_ahead(text, integer, pubsub.cursors, bigint, integer, pg_snapshot, bigint, bigint, bigint)",
        piece: "where f.first <> e.id",
        replacement: "where false",
        seen_as: "of its key had ended",
        shown_by: &ORDER,
    },
];
