//! The fault suite: real workers and publishers, a real server, and faults of every kind. Nothing is lost, nothing is done twice,
//! keys keep their order, and no late answer counts, while faults go on; and everything goes on once they are over.
//!
//! A run is short by default. To run longer, to repeat a plan, and to see the figures:
//!
//! ```sh
//! PUBSUB_FAULTS_SECONDS=600 PUBSUB_FAULTS_SEED=7 cargo test -p pubsub-tests --test faults -- --nocapture
//! ```
//!
//! `docs/reliability.md` has the other settings. The seed decides the faults, not how the processes interleave.

#![expect(clippy::print_stdout, reason = "the figures of a run are half of its result")]

mod arena;
mod clock;
mod disk;
mod fault;
mod fleet;
mod history;
mod inject;
mod ledger;
mod living;
mod network;
mod planted;
mod progress;
mod proxy;
mod publishers;
mod record;
mod report;
mod wire;
mod worker;

use arena::{Arena, Setup};
use clock::Clock;
use disk::Disk;
use fastrand::Rng;
use fault::{AtMessage, Fault};
use network::Network;
use record::now;
use report::Report;
use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wire::Direction;

const WORKERS: usize = 3;

/// Events per second.
const RATE: f64 = 250.0;

/// One round in this many has three faults at once.
const TRIPLE: u32 = 6;

fn setting(name: &str, default: u64) -> u64 {
    let Ok(value) = env::var(name) else { return default };
    value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {value:?}"))
}

#[actix::test]
async fn random_faults_lose_double_and_reorder_nothing() {
    let seed = setting("PUBSUB_FAULTS_SEED", fastrand::u64(..1_000_000));
    let seconds = Duration::from_secs(setting("PUBSUB_FAULTS_SECONDS", 30));
    let (faults, events) = (setting("PUBSUB_FAULTS_COUNT", 3), setting("PUBSUB_FAULTS_EVENTS", 1_000));
    let kind = env::var("PUBSUB_FAULTS_KIND").unwrap_or_default();
    let rate = setting("PUBSUB_FAULTS_RATE", RATE as u64) as f64;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut arena = Arena::start(Setup { workers: WORKERS, rate, ..Setup::default() }).await;
    let mut report = Report::default();
    let began = Instant::now();
    let is_enough = |arena: &Arena, report: &Report| {
        let acked = arena.progress.borrow().acked() as u64;
        began.elapsed() >= seconds && report.faults as u64 >= faults && acked >= events
    };
    while !is_enough(&arena, &report) {
        let at_once = if kind.is_empty() && rng.u32(..TRIPLE) == 0 { 3 } else { 1 };
        let drawn = loop {
            let drawn = Fault::draw_at_once(&mut rng, WORKERS, at_once);
            if drawn.iter().any(|fault| fault.kind().contains(&kind)) {
                break drawn;
            }
        };
        let recovery = round(&mut arena, &drawn, &mut rng).await;
        let recovery = recovery.unwrap_or_else(|hang| panic!("seed {seed}, after {drawn:?}: {hang}"));
        println!("{:>7.1} s: {drawn:?}: {:.2} s", began.elapsed().as_secs_f64(), recovery.as_secs_f64());
        report.faults += drawn.len();
        report.add(if drawn.len() == 1 { drawn[0].kind() } else { "three at once" }, recovery);
    }
    let faults = report.faults;
    let verdict = arena.finish().await.unwrap_or_else(|hang| panic!("seed {seed}, at the end: {hang}"));
    println!("seed {seed}, {:.0} s, {faults} faults: {verdict}\n{report}", began.elapsed().as_secs_f64());
    assert_eq!(verdict.violations, [], "seed {seed}: {verdict}");
}

/// Brings faults about for a while that is drawn, and then goes on after a moment.
async fn round(arena: &mut Arena, faults: &[Fault], rng: &mut Rng) -> Result<Duration, String> {
    let hold = faults.iter().map(|fault| fault.hold(rng)).max().unwrap_or_default();
    let recovery = recover(arena, faults, hold).await?;
    let pause = Duration::from_millis(rng.u64(..200));
    tokio::time::sleep(pause).await;
    Ok(recovery)
}

/// Brings faults about, ends them, and waits until the system has recovered. Returns the time that this took.
async fn recover(arena: &mut Arena, faults: &[Fault], hold: Duration) -> Result<Duration, String> {
    for &fault in faults {
        arena.inject(fault).await;
    }
    tokio::time::sleep(hold).await;
    arena.heal().await;
    arena.until_recovered(now()).await
}

/// The messages of one direction that a short sweep acts at.
const SWEEP: u64 = 8;

/// A SIGKILL costs the time of a start, so it is at every fourth message.
const KILL_STEP: usize = 4;

#[actix::test]
async fn a_cut_at_every_message_loses_nothing() {
    sweep(AtMessage::Cut).await;
}

#[actix::test]
async fn a_sigkill_at_messages_loses_nothing() {
    sweep(AtMessage::KillWorker).await;
}

/// Acts at every message of a worker, before and after it is forwarded, in both directions.
async fn sweep(what: AtMessage) {
    let mut arena = Arena::start(Setup { workers: 2, rate: RATE, ..Setup::default() }).await;
    let mut rng = Rng::with_seed(1);
    let mut recoveries = Report::default();
    let step = if what == AtMessage::KillWorker { KILL_STEP } else { 1 };
    for after in (0..setting("PUBSUB_FAULTS_SWEEP", SWEEP)).step_by(step) {
        for (direction, forward) in [
            (Direction::ToServer, false),
            (Direction::ToServer, true),
            (Direction::ToClient, false),
            (Direction::ToClient, true),
        ] {
            let after = u32::try_from(after).expect("a small number");
            let fault = Fault::At { worker: Some(0), what, direction, role: None, after, forward };
            let recovery = round(&mut arena, &[fault], &mut rng).await;
            recoveries.add(fault.kind(), recovery.unwrap_or_else(|hang| panic!("after {fault:?}: {hang}")));
        }
    }
    conclude(arena, &recoveries).await;
}

async fn conclude(arena: Arena, report: &Report) {
    let verdict = arena.finish().await.unwrap_or_else(|hang| panic!("at the end: {hang}"));
    println!("{verdict}\n{report}");
    assert_eq!(verdict.violations, [], "{verdict}");
}

/// Brings the same fault about again and again, in an arena of its own.
async fn repeat(fault: Fault, setup: Setup) {
    let mut arena = Arena::start(setup).await;
    let mut rng = Rng::with_seed(1);
    let mut report = Report::default();
    for _ in 0..setting("PUBSUB_FAULTS_REPEAT", 3) {
        let recovery = round(&mut arena, &[fault], &mut rng).await;
        report.add(fault.kind(), recovery.unwrap_or_else(|hang| panic!("after {fault:?}: {hang}")));
    }
    conclude(arena, &report).await;
}

#[actix::test]
async fn a_frozen_worker_that_wakes_read_only_loses_nothing() {
    let mut arena = Arena::start(Setup { workers: 3, rate: RATE, ..Setup::default() }).await;
    let mut rng = Rng::with_seed(1);
    let mut report = Report::default();
    for _ in 0..setting("PUBSUB_FAULTS_REPEAT", 1) {
        arena.inject(Fault::FreezeWorker(0)).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(7_000..9_000))).await;
        arena.heal().await;
        let pause = Duration::from_millis(rng.u64(..300));
        tokio::time::sleep(pause).await;
        let recovery = round(&mut arena, &[Fault::ReadOnly], &mut rng).await;
        report.add("frozen, then read-only", recovery.unwrap_or_else(|hang| panic!("{hang}")));
    }
    conclude(arena, &report).await;
}

#[actix::test]
async fn a_full_disk_loses_nothing() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(error) => return println!("NOT RUN: this machine has no small disk: {error}"),
    };
    let tablespace = Some(disk.tablespace());
    repeat(Fault::FullDisk, Setup { workers: 2, rate: RATE, tablespace, ..Setup::default() }).await;
}

#[actix::test]
async fn a_network_that_drops_packets_loses_nothing() {
    let network = match Network::create() {
        Ok(network) => Some(network),
        Err(error) => return println!("NOT RUN: this machine makes no network: {error}"),
    };
    repeat(Fault::PullCable(1), Setup { workers: 2, rate: RATE, network, ..Setup::default() }).await;
}

#[actix::test]
async fn a_clock_set_on_and_back_loses_nothing() {
    jump(60).await;
}

#[actix::test]
async fn a_clock_set_back_and_on_loses_nothing() {
    jump(-60).await;
}

/// Sets the server's clock wrong by so many minutes, and right again.
async fn jump(minutes: i32) {
    let (_, binaries) = installed().await;
    let clock = match Clock::create(&binaries) {
        Ok(clock) => Some(clock),
        Err(error) => return println!("NOT RUN: this machine sets no clock: {error}"),
    };
    repeat(Fault::JumpClock(minutes), Setup { workers: 2, rate: RATE, clock, ..Setup::default() }).await;
}

/// The version from which a server's queue of notifications can be small.
const SMALL_QUEUE: u32 = 17;

#[actix::test]
async fn a_full_queue_of_notifications_loses_nothing() {
    let (version, _) = installed().await;
    if version < SMALL_QUEUE {
        return println!("NOT RUN: the queue of notifications of PostgreSQL {version} takes 8 GB");
    }
    let settings = vec![("max_notify_queue_pages", "64")];
    repeat(Fault::FullQueue, Setup { workers: 2, rate: RATE, settings, ..Setup::default() }).await;
}

/// The version and the programs of the installed server.
async fn installed() -> (u32, PathBuf) {
    let server = tokio::task::spawn_blocking(pubsub::testing::Server::start).await.expect("no panic");
    let server = server.expect("a server");
    let major = server.version().split('.').next().and_then(|major| major.parse().ok());
    (major.expect("a version"), server.bin_dir().to_owned())
}
