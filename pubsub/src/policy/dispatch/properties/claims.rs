//! Properties of claims, settlements and the drain.

#[cfg(test)]
mod tests {
    use crate::policy::dispatch::properties::{claims_from_log, scenarios};
    use crate::policy::dispatch::simulation::{Scenario, Seen, World};
    use crate::policy::dispatch::step::Query;
    use crate::policy::leases::LINGER;
    use crate::policy::prefetch::MAX_OUTSTANDING;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    /// Seconds after which the slowest handler has handled everything.
    const ENOUGH: u64 = 600;

    fn run(scenario: Scenario, seconds: u64) -> World {
        World::new(scenario, Instant::now()).run(Duration::from_secs(seconds))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

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
        fn log_and_mailbox_take_turns(scenario in scenarios(0)) {
            let (mut mailbox_was_last, mut bell) = (false, false);
            for (at, seen) in run(scenario, 20).seen {
                match seen {
                    Seen::Bell => bell = true,
                    Seen::Query { query: Query::ClaimLog { .. }, .. } => (mailbox_was_last, bell) = (false, false),
                    Seen::Query { query: Query::ClaimMailbox(_), .. } => {
                        prop_assert!(!(mailbox_was_last && bell), "the mailbox has two turns at {:?}", at);
                        mailbox_was_last = true;
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn a_database_that_failed_is_left_alone_at_first(scenario in scenarios(300)) {
            let mut failed = None;
            for (at, seen) in run(scenario, 20).seen {
                match seen {
                    Seen::QueryFailed => failed = Some(at),
                    Seen::Query { query, .. } => {
                        let early = failed.is_some_and(|failed| at < failed + Duration::from_millis(25));
                        prop_assert!(!early, "{:?} at {:?}", query, at);
                        prop_assert!(failed.take().is_none() || query == Query::ReturnUnknownClaims);
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn no_answer_waits_for_long_to_be_settled(scenario in scenarios(0)) {
            let mut unsettled = VecDeque::new();
            for (at, seen) in run(scenario, 20).seen {
                match seen {
                    Seen::Answers(count) => unsettled.extend(std::iter::repeat_n(at, count)),
                    // Deliveries that are returned at once are settled with the others.
                    Seen::Settle(count) => drop(unsettled.drain(..count.min(unsettled.len()))),
                    _ => {}
                }
                let oldest = unsettled.front();
                prop_assert!(oldest.is_none_or(|&oldest| at <= oldest + LINGER * 3), "at {:?}", at);
            }
        }

        #[test]
        fn a_quarantined_handler_gets_nothing(scenario in scenarios(50), from in 0u64..3_000, takes in 1u64..3_000) {
            let world = run(Scenario { quarantine: Some((from, takes)), ..scenario }, ENOUGH);
            let mut quarantined = false;
            for (at, seen) in &world.seen {
                match seen {
                    Seen::Quarantine => quarantined = true,
                    Seen::Recovery => quarantined = false,
                    Seen::Query { .. } | Seen::Deliver => {
                        prop_assert!(!quarantined, "{:?} at {:?}", seen, at);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(world.database.undone(), 0, "everything is handled in the end");
        }

        #[test]
        fn a_quarantined_handler_leaves_its_lanes(
            scenario in scenarios(50), from in 0u64..3_000, takes in 100u64..3_000,
        ) {
            let scenario = Scenario { quarantine: Some((from, takes)), ordered: true, ..scenario };
            let (mut quarantined, mut asking, mut left) = (false, false, 0);
            for (at, seen) in &run(scenario, 20).seen {
                match seen {
                    Seen::Quarantine => quarantined = true,
                    Seen::Recovery => quarantined = false,
                    Seen::Query { .. } => asking = true,
                    Seen::Reply { .. } | Seen::QueryFailed => asking = false,
                    Seen::LeaveLanes => {
                        prop_assert!(quarantined && !asking, "a claim takes them again, at {:?}", at);
                        left += 1;
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(left, 1);
        }

        #[test]
        fn a_refused_claim_becomes_rare_and_the_rest_goes_on(scenario in scenarios(0)) {
            let suspects = vec![(0, 1, 3), (20_000, 2, 1)];
            let world = run(Scenario { suspended: true, suspects, ..scenario }, 60);
            let claims = |(_, seen): &&(Duration, Seen)| {
                matches!(seen, Seen::Query { query, .. } if claims_from_log(query))
            };
            let claims = world.seen.iter().filter(claims).count();
            prop_assert!(claims <= 40, "{} claims in a minute", claims);
            let others = world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Query { .. })).count() - claims;
            prop_assert!(others <= 600, "{} other queries in a minute", others);
            prop_assert_eq!(world.database.in_mailbox(), 0, "the mailbox goes on");
        }

        #[test]
        fn a_drain_ends(scenario in scenarios(50), drain_at in 0u64..5_000) {
            let failures = scenario.failures;
            let world = run(Scenario { drain_at: Some(drain_at), ..scenario }, ENOUGH);
            let position = |what: fn(&Seen) -> bool| world.seen.iter().position(|(_, seen)| what(seen));
            let drained = position(|seen| matches!(seen, Seen::Drain));
            let stopped = position(|seen| matches!(seen, Seen::Stop));
            prop_assert!(stopped.is_some());
            let (drained, stopped) = (drained.unwrap_or_default(), stopped.unwrap_or_default());
            let mut since = world.seen[drained..].iter();
            let begun = since.find(|(_, seen)| matches!(seen, Seen::Query { .. } | Seen::Deliver));
            prop_assert!(begun.is_none(), "nothing is claimed or started any more");
            prop_assert!(world.seen[stopped].0 - world.seen[drained].0 < Duration::from_secs(20));
            if failures == 0 {
                prop_assert_eq!((world.database.leased(), world.database.has_row()), (0, false));
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
}
