//! Every order in which sessions can call the SQL functions, on a real server, with the invariants of a delivery checked after
//! each: 34,650 schedules of three sessions with four steps, in each of ten scenarios.
//!
//! A step that waits for a lock stays waiting while the schedule goes on with the other sessions. The next steps of its session
//! follow when they can. After the last step all processes are declared dead, and everything that is left is claimed and
//! settled.
//!
//! The interleaver is itself tested: it must detect functions with a broken piece.
//!
//! Most schedules differ from another one only in the order of neighbours without common data. By default a part of these
//! kinds is run. To run one schedule of each kind, all schedules of all scenarios, or a single one:
//!
//! ```sh
//! PUBSUB_INTERLEAVE=distinct cargo test -p pubsub-tests --release --test interleave -- --nocapture
//! PUBSUB_INTERLEAVE=all cargo test -p pubsub-tests --release --test interleave -- --nocapture
//! PUBSUB_INTERLEAVE=AABCBCBCAABC cargo test -p pubsub-tests --test interleave -- --nocapture
//! ```

#![expect(clippy::print_stdout, reason = "the number of schedules is half of the result")]

mod history;
mod interleaver;
mod mutants;
mod scenario;
mod schedule;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use history::Violation;
use interleaver::Interleaver;
use mutants::Mutant;
use scenario::Scenario;
use schedule::{Schedule, distinct, letters, merges};

/// The number of concurrent interleavers: a schedule spends half of its time waiting for answers.
const INTERLEAVERS: usize = 4;

/// The outcome of many schedules.
struct Outcome {
    played: usize,
    violation: Option<Violation>,
}

/// Runs schedules of a scenario until one violates an invariant.
fn play(scenario: &'static Scenario, schedules: Vec<Schedule>, mutant: Option<&'static Mutant>) -> Outcome {
    let (schedules, next, failed) =
        (Arc::new(schedules), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let interleavers: Vec<_> = (0..INTERLEAVERS)
        .map(|_| {
            let (schedules, next, failed) = (Arc::clone(&schedules), Arc::clone(&next), Arc::clone(&failed));
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let mut interleaver = Interleaver::new().await;
                    if let Some(Mutant { function, piece, replacement, .. }) = mutant {
                        let pieces = [(*piece, *replacement)];
                        pubsub_tests::break_function(interleaver.admin(), function, &pieces)
                            .await
                            .expect("a mutant");
                    }
                    while !failed.load(Ordering::Relaxed) {
                        let schedule = schedules.get(next.fetch_add(1, Ordering::Relaxed))?;
                        if let Err(violation) = interleaver.play(scenario, schedule).await {
                            failed.store(true, Ordering::Relaxed);
                            return Some(violation);
                        }
                    }
                    None
                })
            })
        })
        .collect();
    let violations = interleavers
        .into_iter()
        .filter_map(|interleaver| interleaver.join().expect("an interleaver does not panic"));
    let outcome = Outcome {
        violation: violations.reduce(|first, _| first),
        played: next.load(Ordering::Relaxed).min(schedules.len()),
    };
    let what = mutant.map_or("sound", |mutant| mutant.name);
    println!(
        "{}, {what}: {} of {} schedules in {:.1} s; {}",
        scenario.name,
        outcome.played,
        schedules.len(),
        began.elapsed().as_secs_f64(),
        outcome.violation.as_deref().unwrap_or("no violation"),
    );
    outcome
}

fn all_schedules(scenario: &Scenario) -> Vec<Schedule> {
    merges(&scenario.sessions.map(<[_]>::len))
}

#[test]
fn no_schedule_violates_an_invariant() {
    let wanted = std::env::var("PUBSUB_INTERLEAVE").unwrap_or_default();
    for scenario in scenario::ALL {
        let schedules = match wanted.as_str() {
            "" => distinct(scenario).into_iter().step_by(scenario.every).collect(),
            "distinct" => distinct(scenario),
            "all" => all_schedules(scenario),
            one => all_schedules(scenario).into_iter().filter(|schedule| letters(schedule) == one).collect(),
        };
        let count = schedules.len();
        let outcome = play(scenario, schedules, None);
        assert_eq!(outcome.violation, None);
        assert!(outcome.played == count && count > 0, "no schedule of {} is {wanted:?}", scenario.name);
    }
}

#[test]
fn every_broken_function_is_found() {
    for mutant in &mutants::ALL {
        let outcome = play(mutant.shown_by, distinct(mutant.shown_by), Some(mutant));
        let violation = outcome.violation.unwrap_or_default();
        assert!(violation.contains(mutant.seen_as), "{}: found {violation:?}", mutant.name);
    }
}
