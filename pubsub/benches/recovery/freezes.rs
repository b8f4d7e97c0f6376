//! `frozen_to_rerun_p99`: from a SIGSTOP until an event that the worker had begun and not finished begins again. Once it is
//! thawed the worker finishes what it had begun, and its answers must be refused.

use crate::load::{EVEN, Load};
use crate::tape::{Aftermath, now};
use crate::worker::Worker;
use crate::{FREEZES, database, figure, percentile};
use pubsub::testing::Server;
use std::collections::HashSet;
use std::time::Duration;

/// Events that a worker finishes before it is frozen, which happens at most this much later.
const SHARE: usize = 200;
const MOMENT: Duration = Duration::from_millis(500);

/// Notes what is settled in the name of a process that is dead.
const AUDIT: &str = "
    create table late_answers (accepted boolean not null);
    create schema audited;
    alter function pubsub.settle set schema audited;
    create function pubsub.settle(
        process bigint, token bigint, acknowledged bigint[] default null, dispositions jsonb default null
    ) returns boolean language plpgsql as $$
    declare
        accepted boolean;
    begin
        accepted := audited.settle(process, token, acknowledged, dispositions);
        if not exists (select from pubsub.processes p where p.id = settle.process) then
            insert into public.late_answers values (accepted);
        end if;
        return accepted;
    end $$";

pub(crate) async fn run(server: &Server) {
    let url = database(server, "freezes").await;
    crate::connect(&url).await.batch_execute(AUDIT).await.expect("an audited settle");
    let load = Load::start(&url, EVEN).await;
    let mut freezes = Vec::new();
    for player in 1..=FREEZES {
        let worker = Worker::start(player, &url, EVEN, &load.tape);
        worker.warm(&load.tape, SHARE).await;
        tokio::time::sleep(MOMENT.mul_f64(fastrand::f64())).await;
        let frozen = now();
        worker.signal("STOP");
        load.until_taken_over(worker.pid()).await;
        let thawed = now();
        worker.signal("CONT");
        // Back under another name, and at work.
        load.until(&format!("select exists (select from pubsub.processes where os_pid = {})", worker.pid()))
            .await;
        worker.warm(&load.tape, load.tape.finished(player) + SHARE).await;
        freezes.push((player, frozen, thawed));
        drop(worker);
        load.until("select not exists (select from pubsub.mailbox where crashes > 0)").await;
    }
    let count = "select count(*) filter (where accepted), count(*) from late_answers";
    let answers = load.client().query_one(count, &[]).await.expect("the audit");
    let (accepted, late): (i64, i64) = (answers.get(0), answers.get(1));
    assert_eq!(accepted, 0, "a late answer was accepted");
    let tape = load.tape.clone();
    load.end().await;

    let notes = tape.notes();
    let (mut reruns, mut late_ends) = (Vec::new(), 0);
    for (player, frozen, thawed) in freezes {
        let aftermath = Aftermath::of(&notes, player, frozen, thawed);
        assert_eq!(aftermath.lost, 0, "everything runs again");
        reruns.extend(aftermath.reruns.iter().map(|after| after.as_secs_f64() * 1e3));
        let of_player = || notes.iter().filter(|note| note.player == player);
        let begun: HashSet<u64> =
            of_player().filter(|note| !note.finished && note.at <= frozen).map(|note| note.order).collect();
        late_ends += of_player()
            .filter(|note| note.at > thawed && note.finished && begun.contains(&note.order))
            .count();
    }
    assert!(late_ends > 0, "thawed workers finish what they had begun");
    assert!(late > 0, "late answers were sent, and refused");
    figure("late_answers_refused", late as f64, "settlements");
    figure("frozen_to_rerun_p99", percentile(&mut reruns, 0.99), "ms");
}
