//! `frozen_to_rerun_p99`: the time from a SIGSTOP until an event that the worker had started and not finished starts again. Once
//! it is thawed, the worker finishes the events that it had started, and its answers must be refused.

use crate::databases::{connect, database};
use crate::figures::{figure, percentile};
use crate::load::Load;
use crate::records::{Aftermath, now};
use crate::work::EVEN;
use crate::worker::Worker;
use pubsub::testing::Server;
use std::collections::HashSet;
use std::time::Duration;

/// How often a worker is frozen.
const FREEZES: usize = 5;

/// The events that a worker finishes before it is frozen, and the most time between that and the freeze.
const SHARE: usize = 200;
const MOMENT: Duration = Duration::from_millis(500);

/// Records the settlements under the id of a dead process.
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
    connect(&url).await.batch_execute(AUDIT).await.expect("an audited settle");
    let load = Load::start(&url, EVEN).await;
    let mut freezes = Vec::new();
    for number in 1..=FREEZES {
        let worker = Worker::start(number, &url, EVEN, &load.records);
        worker.warm(&load.records, SHARE).await;
        tokio::time::sleep(MOMENT.mul_f64(fastrand::f64())).await;
        let frozen = now();
        worker.signal("STOP");
        load.until_taken_over(worker.pid()).await;
        let thawed = now();
        worker.signal("CONT");
        // It is back under another id, and handles events.
        load.until(&format!("select exists (select from pubsub.processes where os_pid = {})", worker.pid()))
            .await;
        worker.warm(&load.records, load.records.finished(number) + SHARE).await;
        freezes.push((number, frozen, thawed));
        drop(worker);
        load.until("select not exists (select from pubsub.mailbox where crashes > 0)").await;
    }
    let count = "select count(*) filter (where accepted), count(*) from late_answers";
    let answers = load.client().query_one(count, &[]).await.expect("the audit");
    let (accepted, late): (i64, i64) = (answers.get(0), answers.get(1));
    assert_eq!(accepted, 0, "a late answer was accepted");
    let records = load.records.clone();
    load.end().await;

    let records = records.all();
    let (mut reruns, mut late_ends) = (Vec::new(), 0);
    for (number, frozen, thawed) in freezes {
        let aftermath = Aftermath::of(&records, number, frozen, thawed);
        assert_eq!(aftermath.lost, 0, "everything runs again");
        reruns.extend(aftermath.reruns.iter().map(|after| after.as_secs_f64() * 1e3));
        let of_worker = || records.iter().filter(|record| record.process == number);
        let started: HashSet<u64> = of_worker()
            .filter(|record| !record.finished && record.at <= frozen)
            .map(|record| record.order)
            .collect();
        late_ends += of_worker()
            .filter(|record| record.at > thawed && record.finished && started.contains(&record.order))
            .count();
    }
    assert!(late_ends > 0, "thawed workers finish the events that they had started");
    assert!(late > 0, "late answers were sent, and refused");
    figure("late_answers_refused", late as f64, "settlements");
    figure("frozen_to_rerun_p99", percentile(&mut reruns, 0.99), "ms");
}
