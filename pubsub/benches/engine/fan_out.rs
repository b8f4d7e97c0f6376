//! Fan-out: the cost of ten subscriptions instead of one, when publishing and when draining, beside a queue, which writes a row
//! for each of them.

use crate::databases::database;
use crate::drain::Drain;
use crate::figures::figure;
use crate::rounds::Rounds;
use crate::tables::Design;
use pubsub::testing::Server;

/// The number of events, each for every subscription.
const EVENTS: u64 = 20_000;

const ROUNDS: usize = 3;

const SUBSCRIPTIONS: i32 = 10;

pub(crate) async fn run(server: &Server) {
    let mut measured = Vec::new();
    let designs = [Design::Log, Design::Queue];
    let rounds = Rounds::<2>::play(ROUNDS, async |way| {
        let name = format!("fan_out_{}", measured.len());
        let url = database(server, &name).await;
        let drain = Drain::measure(&url, designs[way], EVENTS, SUBSCRIPTIONS).await;
        measured.push((way, drain));
        drain.rate
    })
    .await;
    rounds.print(["drain_10", "queue_drain_10"], "deliveries/s");
    rounds.print_ratio("drain_10_to_queue", 0, 1);
    for (way, name) in ["", "queue_"].into_iter().enumerate() {
        let url = database(server, &format!("fan_out_of_one_{way}")).await;
        let of_one = Drain::measure(&url, designs[way], EVENTS, 1).await;
        let of_ten = measured.iter().find(|(of, _)| *of == way).expect("each has had its turn").1;
        figure(&format!("{name}publish_wal_1"), of_one.published_wal, "bytes");
        figure(&format!("{name}publish_wal_{SUBSCRIPTIONS}"), of_ten.published_wal, "bytes");
    }
}
