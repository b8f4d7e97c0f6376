//! Properties of wake-ups, and of the waiter row that publishers see.

#[cfg(test)]
mod tests {
    use crate::policy::dispatch::intake::GATHER;
    use crate::policy::dispatch::properties::{claims_from_log, scenarios};
    use crate::policy::dispatch::simulation::{POLL_INTERVAL, Scenario, Seen, World};
    use crate::policy::dispatch::step::Query;
    use crate::policy::dispatch::suspects::PATIENCE;
    use crate::policy::dispatch::waiter::PASS_AFTER;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    /// Longer than a step takes in the model, apart from statements.
    const SLACK: Duration = Duration::from_millis(1);

    /// Seconds after which the slowest handler has handled everything.
    const ENOUGH: u64 = 600;

    fn run(scenario: Scenario, seconds: u64) -> World {
        World::new(scenario, Instant::now()).run(Duration::from_secs(seconds))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_wake_up_is_lost(scenario in scenarios(50)) {
            let world = run(scenario, ENOUGH);
            for (at, seen) in &world.seen {
                if let Seen::Reply { query: Query::Poll { .. }, found } = seen {
                    prop_assert_eq!(found.unrung, 0, "only the poll found an event, at {:?}", at);
                }
            }
            prop_assert_eq!(world.database.undone(), 0, "everything is handled in the end");
        }

        #[test]
        fn every_bell_is_followed_by_a_claim(scenario in scenarios(50)) {
            let world = run(scenario, ENOUGH);
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
        fn a_wake_up_during_a_claim_causes_another_claim(scenario in scenarios(50)) {
            let (mut under_way, mut due) = (None, false);
            for (at, seen) in run(scenario, 30).seen {
                match seen {
                    Seen::Bell => due |= matches!(under_way, Some(Query::ClaimLog { .. })),
                    Seen::Query { query, .. } => {
                        under_way = Some(query);
                        if claims_from_log(&query) {
                            let claims = matches!(query, Query::ClaimLog { .. });
                            prop_assert!(!std::mem::take(&mut due) || claims, "{:?} at {:?}", query, at);
                        }
                    }
                    Seen::Reply { .. } | Seen::QueryFailed => under_way = None,
                    _ => {}
                }
            }
        }

        #[test]
        fn no_event_waits_for_the_poll(scenario in scenarios(0)) {
            let scenario = Scenario { handler_micros: 0, suspects: Vec::new(), ..scenario };
            for (at, seen) in run(scenario, 40).seen {
                if let Seen::Reply { found, .. } = seen {
                    prop_assert!(found.waited < POLL_INTERVAL / 2, "{:?} at {:?}", found, at);
                }
            }
        }

        #[test]
        fn events_gather_after_a_partial_claim(scenario in scenarios(0)) {
            let (mut woken, mut gathers_until) = (false, None);
            for (at, seen) in run(scenario, 30).seen {
                match seen {
                    Seen::Bell => woken = true,
                    Seen::Query { query, .. } => {
                        let gathers = gathers_until.take().is_some_and(|until| at < until);
                        prop_assert!(!gathers, "{:?} at {:?}", query, at);
                        woken = false;
                    }
                    Seen::Reply { query: Query::ClaimLog { size, .. }, found } => {
                        let partial = (1..size.batch).contains(&found.events);
                        gathers_until = (partial && !woken).then_some(at + GATHER);
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn an_idle_dispatcher_asks_nothing(seed in any::<u64>(), ordered in any::<bool>()) {
            let scenario = Scenario { seed, ordered, concurrency: 1, ..Scenario::default() };
            let start = Instant::now();
            for seconds in [20, 100] {
                let world = World::new(scenario.clone(), start).run(Duration::from_secs(seconds));
                prop_assert!(world.database.has_sleeper(start + Duration::from_secs(seconds)));
                for (at, seen) in world.seen {
                    let asks = matches!(seen, Seen::Query { .. }) && at > Duration::from_secs(1);
                    prop_assert!(!asks, "{:?} at {:?}", seen, at);
                }
            }
        }

        #[test]
        fn the_poll_finds_an_event_whose_bell_was_lost(scenario in scenarios(0)) {
            let quick = Scenario { silent: true, handler_micros: 0, suspects: Vec::new(), ..scenario };
            // The mailbox may always have a suspect. While it is awaited, nothing else is claimed.
            let most = POLL_INTERVAL + PATIENCE + SLACK * 20;
            for (at, seen) in run(quick, 40).seen {
                if let Seen::Reply { found, .. } = seen {
                    prop_assert!(found.waited < most, "{:?} at {:?}", found, at);
                }
            }
        }

        #[test]
        fn a_sleeper_polls_only_for_what_its_process_found(scenario in scenarios(0)) {
            let mut found = 0;
            for (at, seen) in run(scenario, 100).seen {
                match seen {
                    Seen::Polled { unread } => found += u32::from(unread),
                    Seen::Query { query: Query::Poll { .. }, .. } => {
                        prop_assert!(found > 0, "at {:?}", at);
                        found -= 1;
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn a_sleeper_polls_once_per_interval(scenario in scenarios(0)) {
            let mut polls = 0;
            for (at, seen) in run(scenario, 40).seen {
                if let Seen::Query { query: Query::Poll { .. }, .. } = seen {
                    polls += 1;
                    prop_assert!(POLL_INTERVAL * polls <= at, "{} polls until {:?}", polls, at);
                }
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
                    _ => {}
                }
            }
        }

        #[test]
        fn a_dispatcher_that_claims_is_not_rung_for(scenario in scenarios(0)) {
            // No row may be written while one is being removed.
            let (mut asleep, mut removed_at) = (false, None);
            for (at, seen) in run(scenario, 30).seen {
                match seen {
                    Seen::RemoveWaiter => (asleep, removed_at) = (false, Some(at)),
                    Seen::Reply { query: Query::ClaimIfQuiet { .. }, .. } => asleep = true,
                    Seen::Query { query: Query::ClaimLog { says_awake, .. }, .. } => {
                        let removing = removed_at.is_some_and(|removed| at < removed + SLACK * 10);
                        prop_assert!(says_awake || !asleep || removing, "at {:?}", at);
                        asleep = false;
                    }
                    _ => {}
                }
            }
        }
    }

    /// The waiter row.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Row {
        None,
        Asleep,
        Awake,
    }
}
