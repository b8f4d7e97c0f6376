//! Properties of suspects.

#[cfg(test)]
mod tests {
    use crate::policy::dispatch::properties::{claims_from_log, crashes, scenarios};
    use crate::policy::dispatch::simulation::{Scenario, Seen, World};
    use crate::policy::dispatch::step::Query;
    use crate::policy::dispatch::suspects::{LONG_PROBATION, PATIENCE, PROBATION};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn run(scenario: Scenario, seconds: u64) -> World {
        World::new(scenario, Instant::now()).run(Duration::from_secs(seconds))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_suspect_runs_alone(scenario in scenarios(50), handler_micros in 0u64..6_000_000) {
            let scenario = Scenario { handler_micros, ..scenario };
            // Since when nothing was claimed, and until when a suspect must be alone.
            let (mut last_claim, mut alone_until) = (None, None);
            for (at, seen) in run(scenario, 30).seen {
                if let Some(crashes) = crashes(&seen) {
                    alone_until = Some(at + if crashes < 2 { PROBATION } else { LONG_PROBATION });
                }
                match seen {
                    Seen::Query { query: Query::ReturnUnknownClaims, .. } => {}
                    Seen::Query { query, free, .. } => {
                        let alone = free || alone_until.is_none_or(|until| at >= until);
                        prop_assert!(alone, "{:?} at {:?}, beside a suspect", query, at);
                        alone_until = None;
                        let waited = last_claim.is_none_or(|last| at >= last + PROBATION);
                        let alone = !matches!(query, Query::ClaimSuspects(_)) || free || waited;
                        prop_assert!(alone, "a suspect beside others at {:?}", at);
                    }
                    Seen::Reply { found, .. } if found.events > 0 => last_claim = Some(at),
                    _ => {}
                }
            }
        }

        #[test]
        fn after_a_suspect_another_is_looked_for(scenario in scenarios(0)) {
            let mut suspect = false;
            for (at, seen) in run(scenario, 30).seen {
                suspect |= crashes(&seen).is_some();
                if let Seen::Query { query, .. } = seen {
                    let next = !std::mem::take(&mut suspect) || matches!(query, Query::ClaimSuspects(_));
                    prop_assert!(next, "{:?} at {:?}, after a suspect", query, at);
                }
            }
        }

        #[test]
        fn suspects_of_one_death_run_together_until_they_die_again(
            scenario in scenarios(0), count in 1usize..46, crashes in 1u32..4,
        ) {
            let scenario = Scenario {
                concurrency: 16,
                handler_micros: 20_000,
                publishes: Vec::new(),
                suspects: vec![(1_000, crashes, count)],
                ..scenario
            };
            let groups = run(scenario, 60).seen.into_iter().filter(|(_, seen)| self::crashes(seen).is_some()).count();
            if crashes == 1 {
                // The room of a handler that has run nothing yet doubles from 2 to 16, if it keeps up.
                prop_assert!(groups <= 2 * [2, 4, 8, 16, 16].len(), "{} suspects in {} groups", count, groups);
            } else {
                prop_assert_eq!(groups, count, "each ran alone");
            }
        }

        #[test]
        fn a_suspect_does_not_wait_for_ever(
            scenario in scenarios(0), others in 1u64..4, crashes in 1u32..4, appears in 1_000u64..2_000,
        ) {
            // The others take up to a minute each, and the handler has room beside them.
            let scenario = Scenario {
                concurrency: 16,
                handler_micros: 60_000_000,
                publishes: (0..others).map(|at| (at * 300, 0, 1)).collect(),
                suspects: vec![(appears, crashes, 1)],
                ..scenario
            };
            let claimed = run(scenario, 10).seen.into_iter().find(|(_, seen)| self::crashes(seen).is_some());
            let latest = Duration::from_millis(appears) + PATIENCE + Duration::from_millis(20);
            prop_assert!(claimed.is_some_and(|(at, _)| at <= latest));
        }

        #[test]
        fn the_others_do_not_wait_for_a_suspect_for_ever(scenario in scenarios(0), crashes in 1u32..4) {
            // The suspect, like all others, takes a minute or more; events come while it is handled.
            let scenario = Scenario {
                concurrency: 16,
                handler_micros: u64::MAX >> 20,
                publishes: vec![(1_000, 0, 1)],
                suspects: vec![(0, crashes, 1)],
                ..scenario
            };
            let brought = run(scenario, 10).seen.into_iter().find(|(_, seen)| {
                matches!(seen, Seen::Reply { query, found } if claims_from_log(query) && found.events > 0)
            });
            let probation = if crashes < 2 { PROBATION } else { LONG_PROBATION };
            let latest = probation.max(Duration::from_millis(1_000)) + Duration::from_millis(50);
            prop_assert!(brought.is_some_and(|(at, _)| at <= latest));
        }
    }
}
