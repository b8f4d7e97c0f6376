//! The runs over which the properties of the decisions are tested.

mod claims;
mod suspects;
mod wake_ups;

use super::simulation::{Scenario, Seen};
use super::step::Query;
use proptest::prelude::*;

/// Short and long publishes in the first half of a minute, most of them in its first seconds.
fn publishes() -> impl Strategy<Value = Vec<(u64, u64, usize)>> {
    let begins = prop_oneof![4 => 0u64..5_000, 1 => 0u64..30_000];
    proptest::collection::vec((begins, prop_oneof![Just(0u64), 0u64..60], 1usize..40), 1..60)
}

fn suspect_deliveries() -> impl Strategy<Value = Vec<(u64, u32, usize)>> {
    proptest::collection::vec((0u64..5_000, 1u32..4, 1usize..30), 0..4)
}

prop_compose! {
    /// Generates runs with at most this many failures per thousand statements.
    fn scenarios(max_failures: u64)(
        seed in any::<u64>(),
        concurrency in 1usize..20,
        ordered in any::<bool>(),
        handler_micros in prop_oneof![Just(0u64), 0u64..500, 0u64..100_000],
        failures in prop_oneof![Just(0), 0..=max_failures],
        publishes in publishes(),
        suspects in suspect_deliveries(),
    ) -> Scenario {
        Scenario { seed, concurrency, ordered, handler_micros, failures, publishes, suspects, ..Scenario::default() }
    }
}

pub(super) fn claims_from_log(query: &Query) -> bool {
    matches!(query, Query::ClaimLog { .. } | Query::ClaimIfQuiet { .. } | Query::Poll { .. })
}

/// Returns the crashes of the suspects that a claim has returned, if there are any.
fn crashes(seen: &Seen) -> Option<u32> {
    match seen {
        Seen::Reply { query: Query::ClaimSuspects(_), found } => found.crashes,
        _ => None,
    }
}
