//! Nobody living is declared dead, whatever happens to the server, to its clock, to single connections and to the machine.

use crate::arena::{Arena, Setup};
use crate::clock::Clock;
use crate::fault::{AtMessage, Backend, Fault};
use crate::report::Report;
use crate::wire::Direction;
use crate::{RATE, conclude, installed, recover, setting};
use fastrand::Rng;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WORKERS: usize = 3;

/// The time that a message to or from a far server takes.
const FAR: Duration = Duration::from_millis(80);

/// The number of threads that keep a loaded machine busy.
const BUSY_LOOPS: usize = 20;

/// A fault that no process dies of and that cuts none off for longer than its grace, and how long it lasts.
///
/// Half of those that silence everybody last longer than the time after which a silent process is dead.
fn draw(rng: &mut Rng, has_clock: bool) -> (Fault, Duration) {
    let long = if rng.bool() { 6_500..9_000 } else { 300..3_000 };
    let (fault, millis) = match rng.u32(..if has_clock { 13 } else { 12 }) {
        0 => (Fault::None, 0..100),
        1 => (Fault::FreezeServer, long),
        2 => (Fault::FreezePostmaster, 300..3_000),
        3 => {
            let kinds = [Backend::Heartbeat, Backend::Listener, Backend::Pool];
            (Fault::FreezeBackends(kinds[rng.usize(..kinds.len())]), 300..3_000)
        }
        4 => (Fault::ReadOnly, long),
        5 => {
            let kinds = [Backend::Heartbeat, Backend::Listener, Backend::Pool];
            (Fault::Terminate(kinds[rng.usize(..kinds.len())]), 0..1)
        }
        6 => (Fault::CancelStatements, 0..1),
        7 => (Fault::LockTables, 300..2_000),
        8 => ([Fault::CrashServer, Fault::RestartServer, Fault::KillBackend][rng.usize(..3)], 0..2_000),
        9 | 10 => (at_message(rng), 100..500),
        11 => (Fault::PanicActor(rng.usize(..WORKERS)), 0..1),
        _ => (Fault::JumpClock(if rng.bool() { 60 } else { -60 }), 2_500..4_000),
    };
    (fault, Duration::from_millis(rng.u64(millis)))
}

/// A cut or a delay of one connection.
fn at_message(rng: &mut Rng) -> Fault {
    let what = if rng.bool() { AtMessage::Cut } else { AtMessage::Delay };
    let direction = if rng.bool() { Direction::ToServer } else { Direction::ToClient };
    let worker = Some(rng.usize(..WORKERS));
    Fault::At { worker, what, direction, role: None, after: rng.u32(..60), forward: rng.bool() }
}

#[actix::test]
async fn nobody_living_is_declared_dead() {
    let (_, binaries) = installed().await;
    let clock = Clock::create(&binaries).inspect_err(|error| println!("the clock is not set: {error}")).ok();
    spare(Setup { workers: WORKERS, rate: RATE, clock, ..Setup::default() }).await;
}

#[actix::test]
async fn nobody_far_away_is_declared_dead() {
    // The events of a key that wait for a retry take several round trips each.
    spare(Setup { workers: WORKERS, rate: RATE / 12.0, delay: FAR, ..Setup::default() }).await;
}

#[actix::test]
async fn nobody_on_a_loaded_machine_is_declared_dead() {
    let over = Arc::new(AtomicBool::new(false));
    let loops = (0..BUSY_LOOPS).map(|_| {
        let over = Arc::clone(&over);
        std::thread::spawn(move || while !over.load(Ordering::Relaxed) {})
    });
    let loops: Vec<_> = loops.collect();
    spare(Setup { workers: WORKERS, rate: RATE / 4.0, ..Setup::default() }).await;
    over.store(true, Ordering::Relaxed);
    loops.into_iter().for_each(|busy| busy.join().expect("no panic"));
}

/// Brings faults about that no process dies of, and sees after each that the same processes are there.
async fn spare(setup: Setup) {
    let seed = setting("PUBSUB_FAULTS_SEED", fastrand::u64(..1_000_000));
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let has_clock = setup.clock.is_some();
    let mut arena = Arena::start(setup).await;
    let mut report = Report::default();
    let living = processes(&arena).await;
    let began = Instant::now();
    for count in 1..=setting("PUBSUB_FAULTS_REPEAT", 3) {
        let (fault, hold) = draw(&mut rng, has_clock);
        let recovery = recover(&mut arena, &[fault], hold).await;
        let recovery = recovery.unwrap_or_else(|hang| panic!("seed {seed}, after {fault:?}: {hang}"));
        println!(
            "{:>7.1} s: {fault:?} for {hold:?}: {:.2} s",
            began.elapsed().as_secs_f64(),
            recovery.as_secs_f64()
        );
        report.add(fault.kind(), recovery);
        let now = processes(&arena).await;
        assert_eq!(now, living, "seed {seed}, fault {count}: {fault:?} for {hold:?}");
    }
    conclude(arena, &report).await;
}

/// The operating system's process of each registered process.
async fn processes(arena: &Arena) -> HashMap<i64, i32> {
    let rows = arena.query("select id, os_pid from pubsub.processes").await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
