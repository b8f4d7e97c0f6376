//! Schedules: the order in which the steps of several sessions are taken.

use crate::scenario::{Scenario, Touch};

/// For each turn, the number of the session that takes its next step.
pub(crate) type Schedule = Vec<u8>;

/// All ways to merge sessions with these numbers of steps, in a fixed order.
pub(crate) fn merges(steps: &[usize]) -> Vec<Schedule> {
    let mut found = Vec::new();
    extend(&mut steps.to_vec(), &mut Vec::new(), &mut found);
    found
}

fn extend(left: &mut [usize], started: &mut Schedule, found: &mut Vec<Schedule>) {
    if left.iter().all(|steps| *steps == 0) {
        found.push(started.clone());
    }
    for session in 0..left.len() {
        if left[session] > 0 {
            left[session] -= 1;
            started.push(u8::try_from(session).expect("a few sessions"));
            extend(left, started, found);
            started.pop();
            left[session] += 1;
        }
    }
}

/// The distinct merges of a scenario's sessions. Schedules that differ only by swaps of neighbours without common data are
/// of one kind, and the first of each kind in alphabetical order is kept.
pub(crate) fn distinct(scenario: &Scenario) -> Vec<Schedule> {
    let touched = scenario.sessions.map(|script| Touch::of_script(script, scenario.is_ordered));
    let mut merges = merges(&touched.each_ref().map(Vec::len));
    merges.retain(|merge| is_first_of_its_kind(merge, &touched));
    merges
}

/// Whether no step could come before one of a later session by such swaps.
fn is_first_of_its_kind(schedule: &Schedule, touched: &[Vec<Touch>]) -> bool {
    let mut taken = vec![0; touched.len()];
    let mut steps: Vec<(u8, Touch)> = Vec::with_capacity(schedule.len());
    for session in schedule {
        let touch = touched[usize::from(*session)][taken[usize::from(*session)]];
        taken[usize::from(*session)] += 1;
        for (earlier, other) in steps.iter().rev() {
            if earlier == session || other.meets(touch) {
                break;
            }
            if earlier > session {
                return false;
            }
        }
        steps.push((*session, touch));
    }
    true
}

/// A schedule in its readable form: `AABCAB..`
pub(crate) fn letters(schedule: &Schedule) -> String {
    schedule.iter().map(|session| char::from(b'A' + session)).collect()
}

#[test]
fn merges_are_complete_and_distinct() {
    let merges = merges(&[4, 4, 4]);
    assert_eq!(merges.len(), 34_650);
    let distinct: std::collections::BTreeSet<_> = merges.iter().collect();
    assert_eq!(distinct.len(), 34_650);
    assert!(merges.iter().all(|merge| (0..3).all(|s| merge.iter().filter(|turn| **turn == s).count() == 4)));
}

#[test]
fn there_is_one_distinct_schedule_of_each_kind() {
    // Counted by another program, which brings each of the 34,650 into a normal form.
    let counts = crate::scenario::ALL.map(|scenario| distinct(scenario).len());
    assert_eq!(counts, [4_679, 3_896, 3_896, 17_490, 8_400, 12_870, 21_780, 1_310, 21_450, 5_300]);
}
