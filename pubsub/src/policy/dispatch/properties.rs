//! What holds of the decisions in every simulated run.

#[cfg(test)]
mod tests {
    use super::super::intake::GATHER;
    use super::super::simulation::{Scenario, Seen, World};
    use super::super::step::Query;
    use super::super::suspects::{LONG_PROBATION, PATIENCE, PROBATION};
    use super::super::waiter::PASS_AFTER;
    use crate::policy::prefetch::MAX_OUTSTANDING;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Longer than a step may take in the model, apart from queries.
    const SLACK: Duration = Duration::from_millis(1);

    fn run(scenario: Scenario, seconds: u64) -> World {
        World::new(scenario, Instant::now()).run(Duration::from_secs(seconds))
    }

    /// Publishes in the first seconds of a run, long and short ones.
    fn publishes() -> impl Strategy<Value = Vec<(u64, u64, usize)>> {
        proptest::collection::vec((0u64..5_000, prop_oneof![Just(0u64), 0u64..60], 1usize..40), 1..60)
    }

    fn suspects() -> impl Strategy<Value = Vec<(u64, u32)>> {
        proptest::collection::vec((0u64..5_000, 1u32..4), 0..4)
    }

    prop_compose! {
        fn scenarios(max_failures: u64)(
            seed in any::<u64>(),
            concurrency in 1usize..20,
            ordered in any::<bool>(),
            handler_micros in prop_oneof![Just(0u64), 0u64..500, 0u64..100_000],
            failures in 0..=max_failures,
            publishes in publishes(),
            suspects in suspects(),
        ) -> Scenario {
            Scenario { seed, concurrency, ordered, handler_micros, failures, publishes, suspects, drain_at: None }
        }
    }

    fn claims_from_log(query: &Query) -> bool {
        matches!(query, Query::ClaimLog { .. } | Query::ClaimIfQuiet { .. } | Query::Poll { .. })
    }

    fn crashes(seen: &Seen) -> Option<u32> {
        match seen {
            Seen::Reply { query: Query::ClaimSuspect, found } => found.crashes,
            _ => None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_wake_up_is_lost(scenario in scenarios(50)) {
            let world = run(scenario, 60);
            for (at, seen) in &world.seen {
                if let Seen::Reply { query: Query::Poll { .. }, found } = seen {
                    prop_assert_eq!(found.unrung, 0, "only the poll found an event, at {:?}", at);
                }
            }
            prop_assert_eq!(world.database.undone(), 0, "everything is handled in the end");
        }

        #[test]
        fn every_bell_is_followed_by_a_claim(scenario in scenarios(50)) {
            let world = run(scenario, 60);
            let mut bells = 0;
            for (_, seen) in &world.seen {
                match seen {
                    Seen::Bell => bells += 1,
                    Seen::Query { query: Query::ClaimLog { .. }, .. } => bells = 0,
                    _ => {}
                }
            }
            prop_assert_eq!(bells, 0, "the log was not claimed from after the last bell");
        }

        #[test]
        fn there_is_one_query_at_a_time(scenario in scenarios(200)) {
            let mut under_way = 0;
            for (at, seen) in run(scenario, 20).seen {
                match seen {
                    Seen::Query { .. } => under_way += 1,
                    Seen::Reply { .. } | Seen::QueryFailed => under_way -= 1,
                    _ => {}
                }
                prop_assert!((0..=1).contains(&under_way), "{} queries at {:?}", under_way, at);
            }
        }

        #[test]
        fn a_suspect_runs_alone(scenario in scenarios(50)) {
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
                        let alone = query != Query::ClaimSuspect || free || waited;
                        prop_assert!(alone, "a suspect beside others at {:?}", at);
                    }
                    Seen::Reply { found, .. } if found.events > 0 => last_claim = Some(at),
                    _ => {}
                }
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
                suspects: vec![(appears, crashes)],
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
                suspects: vec![(0, crashes)],
                ..scenario
            };
            let brought = run(scenario, 10).seen.into_iter().find(|(_, seen)| {
                matches!(seen, Seen::Reply { query, found } if claims_from_log(query) && found.events > 0)
            });
            let latest = LONG_PROBATION + PATIENCE + Duration::from_millis(50);
            prop_assert!(brought.is_some_and(|(at, _)| at <= latest));
        }

        #[test]
        fn a_drain_ends(scenario in scenarios(50), drain_at in 0u64..5_000) {
            let failures = scenario.failures;
            let world = run(Scenario { drain_at: Some(drain_at), ..scenario }, 60);
            let position = |what: fn(&Seen) -> bool| world.seen.iter().position(|(_, seen)| what(seen));
            let drained = position(|seen| matches!(seen, Seen::Drain));
            let stopped = position(|seen| matches!(seen, Seen::Stop));
            prop_assert!(stopped.is_some());
            let (drained, stopped) = (drained.unwrap_or_default(), stopped.unwrap_or_default());
            let queries = |from: usize| {
                world.seen[from..].iter().filter(|(_, seen)| matches!(seen, Seen::Query { .. })).count()
            };
            prop_assert_eq!(queries(drained), 0, "nothing is claimed any more");
            prop_assert!(world.seen[stopped].0 - world.seen[drained].0 < Duration::from_secs(20));
            if failures == 0 {
                prop_assert_eq!((world.database.leased(), world.database.has_row()), (0, false));
            }
        }

        #[test]
        fn publishers_rely_on_nobody_who_cannot_poll(
            scenario in scenarios(0), handler_micros in 0u64..5_000_000,
        ) {
            let end = (Duration::from_secs(10), Seen::Drain);
            let seen = run(Scenario { handler_micros, ..scenario }, 10).seen.into_iter().chain([end]);
            let (mut row, mut rung, mut idle_since) = (Row::None, false, Some(Duration::ZERO));
            for (at, seen) in seen {
                let relied_on = row == Row::Awake || row == Row::Asleep && rung;
                let overdue = idle_since.is_some_and(|since| at > since + PASS_AFTER + GATHER + SLACK);
                prop_assert!(!(relied_on && overdue), "the waiter row stands at {:?}", at);
                match seen {
                    Seen::RemoveWaiter => row = Row::None,
                    Seen::Bell => {
                        idle_since = if relied_on { idle_since } else { idle_since.map(|_| at) };
                        rung = true;
                    }
                    Seen::Query { query, .. } => {
                        idle_since = None;
                        if let Query::ClaimLog { says_awake, .. } = query {
                            row = if says_awake { Row::Awake } else { row };
                            rung = false;
                        }
                    }
                    Seen::Reply { query, found } => {
                        idle_since = Some(at);
                        rung |= claims_from_log(&query) && found.events > 0;
                        row = if let Query::ClaimIfQuiet { .. } = query { Row::Asleep } else { row };
                    }
                    Seen::QueryFailed | Seen::Drain | Seen::Stop => {}
                }
            }
        }
    }

    proptest! {
        // Each takes thousands of events.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn no_more_than_the_limit_is_outstanding(
            scenario in scenarios(50), bursts in proptest::collection::vec((0u64..200, 600usize..1_200), 1..3),
        ) {
            let publishes = bursts.into_iter().map(|(at, events)| (at, 0, events)).collect();
            let handler_micros = scenario.handler_micros.min(200);
            let scenario = Scenario { publishes, handler_micros, ordered: false, ..scenario };
            for (at, seen) in run(scenario, 3).seen {
                if let Seen::Query { held, .. } = seen {
                    prop_assert!(held <= MAX_OUTSTANDING, "{} are outstanding at {:?}", held, at);
                }
            }
        }
    }

    /// What publishers know of the dispatcher.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Row {
        None,
        Asleep,
        Awake,
    }
}
