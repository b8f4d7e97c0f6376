//! The checker finds each kind of violation in a history where it was planted, and none in the history without it.

use crate::history::{
    Committed, Handling, History, LeaseChange, LeaseStep, Outcome, Publication, Step, Violation,
};

const UNORDERED: usize = 0;
const ORDERED: usize = 1;

/// A run in which everything went well, as far as an at-least-once system must: event 3 was unknown to its publisher, event 4 was
/// handled again after its answer was lost, event 5 failed to be published, event 6 killed its handlers.
fn sound() -> History {
    let mut history = History { ordered: vec![false, true], ..History::default() };
    let outcomes = [
        (1, Outcome::Acked),
        (2, Outcome::Acked),
        (3, Outcome::Unknown),
        (4, Outcome::Acked),
        (5, Outcome::Failed),
        (6, Outcome::Acked),
        (7, Outcome::Unknown),
    ];
    for (n, outcome) in outcomes {
        let publication = Publication { n, from: n as u64, to: n as u64, outcome, poison: n == 6 };
        history.publications.push(publication);
        if [1, 2, 3, 4, 6].contains(&n) {
            history.committed.push(Committed { n, key: 1, seq: n });
        }
    }
    for subscription in [UNORDERED, ORDERED] {
        for n in [1, 2, 3, 4] {
            run(&mut history, subscription, n, n * 10, 100 * n as u64);
        }
        let step = LeaseStep::Claimed;
        history.leases.push(LeaseChange { step, subscription, n: 6, token: 60 });
        history.leases.push(LeaseChange { step: LeaseStep::GivenBack, subscription, n: 6, token: 60 });
        history.dead.push((subscription, 6));
    }
    // The answer under token 41 was lost with a connection, the lease was given up, and another one ended it.
    handled(&mut history, UNORDERED, 4, 41, 380);
    history
}

fn handled(history: &mut History, subscription: usize, n: i64, token: i64, at: u64) {
    history.handlings.push(Handling { step: Step::Started, subscription, n, token, at });
    history.handlings.push(Handling { step: Step::Accepted, subscription, n, token, at: at + 10 });
}

fn run(history: &mut History, subscription: usize, n: i64, token: i64, at: u64) {
    handled(history, subscription, n, token, at);
    history.leases.push(LeaseChange { step: LeaseStep::Claimed, subscription, n, token });
    history.leases.push(LeaseChange { step: LeaseStep::Done, subscription, n, token });
}

fn assert_found(plant: impl FnOnce(&mut History), expected: &[Violation]) {
    let mut history = sound();
    plant(&mut history);
    assert_eq!(history.check().violations, expected);
}

#[test]
fn a_sound_history_has_no_violations() {
    let verdict = sound().check();
    assert_eq!(verdict.violations, []);
    let counts = (verdict.acked, verdict.unknown, verdict.recovered, verdict.failed, verdict.repeated);
    assert_eq!(counts, (4, 2, 1, 1, 1), "{verdict}");
}

#[test]
fn an_event_that_no_handler_accepted_is_lost() {
    let unaccepted = |n: i64| {
        move |history: &mut History| {
            history.handlings.retain(|handling| handling.subscription == ORDERED || handling.n != n);
            history.leases.retain(|lease| lease.subscription == ORDERED || lease.n != n);
        }
    };
    assert_found(unaccepted(1), &[Violation::Lost { subscription: UNORDERED, n: 1 }]);
    // Also if its publisher does not know that it committed.
    assert_found(unaccepted(3), &[Violation::Lost { subscription: UNORDERED, n: 3 }]);
}

#[test]
fn an_acknowledged_event_that_did_not_commit_has_vanished() {
    let plant = |history: &mut History| {
        history.publications[4].outcome = Outcome::Acked;
    };
    assert_found(plant, &[Violation::Vanished { n: 5 }]);
    // A failover to a standby that lagged explains it.
    let explained = |history: &mut History| {
        plant(history);
        history.forgetful.push((5, 5));
    };
    assert_found(explained, &[]);
}

#[test]
fn an_event_that_did_not_commit_is_unexpected() {
    let plant = |history: &mut History| handled(history, UNORDERED, 7, 70, 700);
    assert_found(plant, &[Violation::Unexpected { subscription: UNORDERED, n: 7 }]);
    let explained = |history: &mut History| {
        plant(history);
        history.forgetful.push((7, 7));
    };
    assert_found(explained, &[]);
}

#[test]
fn an_event_that_is_claimed_after_it_was_done_is_doubled() {
    let plant = |history: &mut History| run(history, UNORDERED, 2, 99, 900);
    assert_found(plant, &[Violation::Doubled { subscription: UNORDERED, n: 2 }]);
}

#[test]
fn an_event_in_two_leases_is_found() {
    let plant = |history: &mut History| {
        let claimed = LeaseChange { step: LeaseStep::Claimed, subscription: UNORDERED, n: 1, token: 9 };
        history.leases.insert(0, claimed);
    };
    assert_found(plant, &[Violation::LeasedTwice { subscription: UNORDERED, n: 1 }]);
}

#[test]
fn an_event_that_starts_twice_under_a_lease_is_found() {
    let plant = |history: &mut History| handled(history, UNORDERED, 1, 10, 500);
    let found = Violation::StartedTwice { subscription: UNORDERED, n: 1, token: 10 };
    assert_found(plant, &[found]);
}

#[test]
fn an_event_that_overtakes_another_of_its_key_is_found() {
    let plant = |history: &mut History| {
        let early = history.handlings.iter_mut().find(|h| h.subscription == ORDERED && h.n == 3).unwrap();
        early.at = 205;
    };
    assert_found(plant, &[Violation::OutOfOrder { subscription: ORDERED, key: 1, n: 3 }]);
}

#[test]
fn an_answer_under_a_lost_lease_is_found() {
    let plant = |history: &mut History| {
        let done = history.leases.iter_mut().filter(|lease| lease.n == 2 && lease.subscription == ORDERED);
        done.for_each(|lease| lease.token = 21);
    };
    assert_found(plant, &[Violation::StaleAccepted { subscription: ORDERED, n: 2, token: 21 }]);
}

#[test]
fn a_dead_letter_that_killed_nobody_is_found() {
    let plant = |history: &mut History| history.dead.push((UNORDERED, 2));
    assert_found(plant, &[Violation::DeadLettered { subscription: UNORDERED, n: 2 }]);
}
