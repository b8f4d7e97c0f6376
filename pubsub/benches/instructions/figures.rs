//! Counts a workload, and prints the figures.

use crate::callgrind::Profile;
use crate::databases::{connect, database};
use crate::order::Order;
use crate::workload::Workload;
use crate::{stages, work};
use pubsub::publish_all;
use pubsub::testing::Server;
use std::sync::atomic::{AtomicU32, Ordering};

/// The cost of one event.
pub(crate) struct Count {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    /// The instructions of each stage.
    stages: Vec<(&'static str, f64)>,
}

/// Counts some runs of a workload. Those with fewer instructions come first.
pub(crate) async fn count(server: &Server, workload: Workload) -> Vec<Count> {
    let mut counts = Vec::new();
    for _ in 0..workload.runs() {
        let fewer = profile(server, workload, workload.events()).await;
        let more = profile(server, workload, 2 * workload.events()).await.less(&fewer);
        let each = |count: i64| count as f64 / workload.events() as f64;
        let stages = if workload.has_backlog() { stages::of(&more) } else { Vec::new() };
        counts.push(Count {
            instructions: each(more.instructions),
            allocations: each(more.allocations()),
            stages: stages.into_iter().map(|(stage, count)| (stage, each(count))).collect(),
        });
    }
    counts.sort_by(|one, other| one.instructions.total_cmp(&other.instructions));
    counts
}

/// Returns the run with the median of the instructions.
pub(crate) fn median(counts: &[Count]) -> &Count {
    &counts[counts.len() / 2]
}

/// Counts one process that has so many events.
async fn profile(server: &Server, workload: Workload, events: usize) -> Profile {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let url = database(server, &format!("counted_{number}")).await;
    work::subscribe(&url).await;
    let client = connect(&url).await;
    if workload.has_backlog() {
        let orders: Vec<Order> = (0..events as u64).map(Order::new).collect();
        publish_all(&client, &orders).await.expect("the backlog");
        client.batch_execute("vacuum analyze").await.expect("a settled server");
    }
    let place = std::env::temp_dir().join(format!("pubsub-counted-{}-{number}", std::process::id()));
    std::fs::create_dir(&place).expect("a place for what callgrind writes");
    let profile = Profile::of(|valgrind| work::give_part(valgrind, workload, &url, events), &place);
    std::fs::remove_dir_all(&place).expect("its removal");
    profile
}

#[expect(clippy::print_stdout, reason = "the figures are the benchmark's output")]
pub(crate) fn print(workload: Workload, counts: &[Count]) {
    let (name, count) = (workload.name(), median(counts));
    println!("figure {name} {:.0} instructions", count.instructions);
    for (which, run) in [("lowest", counts.first()), ("highest", counts.last())] {
        println!("figure {name}_{which} {:.0} instructions", run.unwrap_or(count).instructions);
    }
    for (stage, instructions) in &count.stages {
        println!("figure {name}_{stage} {instructions:.0} instructions");
    }
    println!("figure {name}_allocations {:.2} allocations", count.allocations);
}
