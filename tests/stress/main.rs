//! The log loses no event, doubles none, and keeps the order of every key; the bell wakes every sleeper.
//!
//! Each promise is tested twice: by scripted schedules, which always lead into a known hole, and under a random load of every
//! kind of transaction. Each of these tests is itself tested: it must fail with one piece of the SQL broken in its own
//! database.
//!
//! The runs are short by default. To run longer, to choose the random load, and to see the figures:
//!
//! ```sh
//! PUBSUB_STRESS_SECONDS=300 PUBSUB_STRESS_SEED=7 cargo test -p pubsub-tests --test stress -- --nocapture
//! ```
//!
//! `PUBSUB_STRESS_SECONDS` is the duration of each of the two random loads. `PUBSUB_STRESS_SEED` seeds them; without it every
//! run draws a seed and prints it. The seed does not determine how the sessions interleave.

#![expect(clippy::print_stdout, reason = "the figures of a run are half of its result")]

mod bell;
mod checker;
mod claimers;
mod database;
mod holes;
mod load;
mod long_transaction;
mod publishers;
mod reader;
mod removal;
mod schedules;
mod sleeper;
mod subscriptions;
mod test_log;
mod trimming;

use std::env;
use std::time::Duration;

use bell::{BellLoad, BellVariant};
use database::Result;
use holes::Hole;
use load::{ADVERSARIAL, BROAD, Load};
use long_transaction::Blocker;
use removal::Check;
use sleeper::Waking;
use test_log::TestLog;

/// The least work of a random load.
const EVENTS: usize = 100_000;
const SLEEPS: u64 = 2_000;
/// A hole that the random load does not show in this many rounds counts as not caught. They are many, because a busy machine
/// plays less in each.
const ROUNDS: u64 = 400;
const ROUND: Duration = Duration::from_millis(300);
const SHORT_RUN: Duration = Duration::from_secs(3);
/// The duration of a run with a transaction that stays open.
const LONG_TRANSACTION: Duration = Duration::from_secs(10);
/// By how much the pages of a claim and a settlement may grow to the end of the run. Over ten minutes most of the indexes
/// that they descend grow a level.
const MOST_GROWTH: f64 = 2.5;
/// The duration of a run with a reader of an old partition, which is there for half of it.
const READING: Duration = Duration::from_secs(6);
/// Added to twice the chosen duration. A test that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(1_800);

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}")))
}

fn seed() -> u64 {
    setting("PUBSUB_STRESS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

fn duration() -> Duration {
    setting("PUBSUB_STRESS_SECONDS").map_or(SHORT_RUN, Duration::from_secs)
}

async fn within_deadline<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(DEADLINE + 2 * duration(), test).await.map_err(|_| "the deadline has passed")?
}

#[tokio::test]
async fn every_committed_event_is_delivered_once_and_in_key_order() -> Result<()> {
    let seed = seed();
    let load = Load { seed, duration: duration(), events: EVENTS, mix: BROAD, backlogs: true };
    within_deadline(async {
        let log = TestLog::set_up().await?;
        let run = log.run(load).await?;
        println!("log, seed {seed}: {run}");
        for report in &run.reports {
            assert!(report.committed() >= EVENTS, "seed {seed}: too few events: {report}");
            assert!(report.is_clean(), "seed {seed}: {report}");
        }
        assert_eq!(log.leftovers().await?, (0, 0, 0), "leases, mailbox and dead letters left behind");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_schedule_loses_an_event_or_the_order_of_a_key() -> Result<()> {
    within_deadline(async {
        let log = TestLog::set_up().await?;
        for hole in Hole::ALL {
            let report = schedules::play(&log, hole).await?;
            println!("schedule {hole:?}: {report}");
            assert!(report.is_clean(), "{hole:?}: {report}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_the_fence_events_are_lost() -> Result<()> {
    is_caught(Hole::AboveXmax).await
}

#[tokio::test]
async fn reading_the_sequence_after_the_fence_loses_events() -> Result<()> {
    is_caught(Hole::AboveFence).await
}

#[tokio::test]
async fn a_snapshot_without_the_own_transaction_loses_events() -> Result<()> {
    is_caught(Hole::OwnTransaction).await
}

#[tokio::test]
async fn claiming_in_transaction_order_breaks_key_order() -> Result<()> {
    is_caught(Hole::TransactionOrder).await
}

#[tokio::test]
async fn claiming_after_the_highest_id_loses_events() -> Result<()> {
    is_caught(Hole::LateCommit).await
}

/// Checks that both the schedule and the random load show this hole.
async fn is_caught(hole: Hole) -> Result<()> {
    within_deadline(async {
        let report = {
            let log = TestLog::set_up().await?;
            hole.reopen(&log.admin).await?;
            schedules::play(&log, hole).await?
        };
        println!("{hole:?} is open, schedule: {report}");
        assert!(hole.is_in(&[report]), "{hole:?} is open and its schedule does not show it");

        let log = TestLog::set_up().await?;
        hole.reopen(&log.admin).await?;
        let seed = seed();
        for round in 0..ROUNDS {
            let seed = seed.wrapping_add(round);
            let load = Load { seed, duration: ROUND, events: 0, mix: ADVERSARIAL, backlogs: false };
            let run = log.run(load).await?;
            if hole.is_in(&run.reports) {
                println!("{hole:?} is open, seed {seed}, round {round}: {run}");
                return Ok(());
            }
        }
        Err(format!("seed {seed}: {hole:?} is open and the random load does not show it").into())
    })
    .await
}

#[tokio::test]
async fn the_bell_wakes_every_sleeper() -> Result<()> {
    let load = BellLoad { seed: seed(), duration: duration(), sleeps: SLEEPS };
    let report = within_deadline(bell::run(BellVariant::Sound, load)).await?;
    println!("bell, seed {}: {report}", load.seed);
    assert_eq!(report.lost, 0, "seed {}: {report}", load.seed);
    assert!(report.sleeps >= SLEEPS, "{report}");
    Ok(())
}

#[tokio::test]
async fn no_schedule_loses_a_wake_up() -> Result<()> {
    within_deadline(async {
        assert_eq!(bell::play_insert_before_waiter(BellVariant::Sound).await?, Waking::Rung);
        assert_eq!(bell::play_snapshot_before_waiter(BellVariant::Sound).await?, Waking::Rung);
        assert_eq!(bell::play_insert_after_waiter(BellVariant::Sound).await?, Waking::Rung);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_sleeper_marked_as_awake_is_not_woken() -> Result<()> {
    loses_a_wake_up(BellVariant::MarkedAwake).await
}

#[tokio::test]
async fn a_sleeper_that_polls_only_once_is_not_woken() -> Result<()> {
    let broken = BellVariant::SinglePoll;
    assert_eq!(within_deadline(bell::play_insert_before_waiter(broken)).await?, Waking::Lost);
    loses_a_wake_up(broken).await
}

#[tokio::test]
async fn without_the_publishing_lock_a_sleeper_is_not_woken() -> Result<()> {
    let broken = BellVariant::NoLock;
    assert_eq!(within_deadline(bell::play_insert_before_waiter(broken)).await?, Waking::Lost);
    loses_a_wake_up(broken).await
}

#[tokio::test]
async fn a_publisher_with_an_old_snapshot_does_not_ring() -> Result<()> {
    let broken = BellVariant::OldSnapshot;
    assert_eq!(within_deadline(bell::play_snapshot_before_waiter(broken)).await?, Waking::Lost);
    loses_a_wake_up(broken).await
}

#[tokio::test]
async fn a_sleeper_without_its_channel_is_not_woken() -> Result<()> {
    let broken = BellVariant::NoChannel;
    assert_eq!(within_deadline(bell::play_insert_after_waiter(broken)).await?, Waking::Lost);
    loses_a_wake_up(broken).await
}

/// Checks that the random load shows the fault of this bell.
async fn loses_a_wake_up(broken: BellVariant) -> Result<()> {
    // It ends with the first loss.
    let load = BellLoad { seed: seed(), duration: DEADLINE, sleeps: 0 };
    let report = within_deadline(bell::run(broken, load)).await?;
    println!("bell {broken:?}, seed {}: {report}", load.seed);
    assert!(report.lost > 0, "seed {}: {broken:?} and the random load does not show it: {report}", load.seed);
    Ok(())
}

#[actix::test]
async fn an_idle_snapshot_slows_no_claim_and_bloats_no_table() -> Result<()> {
    is_unaffected_by(Blocker::IdleSnapshot).await
}

#[actix::test]
async fn a_long_write_slows_no_claim_and_bloats_no_table() -> Result<()> {
    is_unaffected_by(Blocker::LongWrite).await
}

/// Checks the pages that claims visit. The time that they take is printed but not checked, because it depends on the
/// machine.
async fn is_unaffected_by(blocker: Blocker) -> Result<()> {
    let report = within_deadline(long_transaction::run(blocker, LONG_TRANSACTION.max(duration()))).await?;
    println!("{blocker:?}: {report}");
    assert_eq!(report.missing(), (0, 0), "events did not arrive: {report}");
    assert_eq!(report.bloated(), [] as [&str; 0], "{report}");
    assert!(report.growth() < MOST_GROWTH, "{report}");
    Ok(())
}

/// The least number of partitions that must have left the log.
const REMOVED: i64 = 10;

#[tokio::test]
async fn removing_partitions_under_load_loses_no_event() -> Result<()> {
    let seed = seed();
    let report = within_deadline(trimming::run(seed, duration(), REMOVED)).await?;
    println!("trimming, seed {seed}: {report}");
    assert!(report.is_clean(), "seed {seed}: {report}");
    assert!(report.removed >= REMOVED, "seed {seed}: {report}");
    Ok(())
}

#[tokio::test]
async fn no_schedule_of_a_removal_loses_an_event() -> Result<()> {
    for check in Check::ALL {
        let report = within_deadline(removal::play(check, true)).await?;
        println!("removal, {check:?}: {report}");
        assert_eq!((report.lost, report.was_kept, report.is_kept), (0, true, false), "{check:?}: {report}");
    }
    Ok(())
}

#[tokio::test]
async fn removing_partitions_by_position_loses_late_events() -> Result<()> {
    loses_events_without(Check::LateCommits).await
}

#[tokio::test]
async fn removing_partitions_under_a_lease_loses_failed_events() -> Result<()> {
    loses_events_without(Check::Leases).await
}

async fn loses_events_without(check: Check) -> Result<()> {
    let report = within_deadline(removal::play(check, false)).await?;
    println!("removal without {check:?}: {report}");
    assert_eq!((report.lost, report.was_kept), (1, false), "{check:?}: {report}");
    Ok(())
}

/// The time of publishes is printed but not checked, because it depends on the machine.
#[tokio::test]
async fn a_reader_delays_its_partition_and_no_publisher() -> Result<()> {
    let report = within_deadline(reader::run(READING.max(duration()))).await?;
    println!("a reader: {report}");
    assert!(report.held_up > 0, "{report}");
    assert_eq!(report.removed, 3, "{report}");
    Ok(())
}
