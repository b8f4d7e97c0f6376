//! Costs do not grow with the number of channels, subscriptions, lanes and dead letters.

use pubsub_tests::{BellListener, TestDatabase};
use tokio_postgres::Client;

/// Returns the pages that a statement visits. It is run twice, because the first run of a session also reads the catalogs.
async fn pages(client: &Client, statement: &str) -> i64 {
    let mut pages = 0;
    for _ in 0..2 {
        client.batch_execute("begin").await.unwrap();
        let explain = format!("explain (analyze, buffers, timing off, format json) {statement}");
        let plan: serde_json::Value = client.query_one(&explain, &[]).await.unwrap().get(0);
        client.batch_execute("rollback").await.unwrap();
        pages = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap();
    }
    pages
}

#[actix::test]
async fn a_publish_costs_the_same_however_many_subscriptions_sleep() {
    let db = TestDatabase::numbered().await;
    let mut listener = BellListener::new(db.url()).await;
    let run = async |sql: &str| db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for sql in ["declare_channel('sms')", "declare_channel('email')", "subscribe('email', 'other')"] {
        run(sql).await;
    }
    run("register_process('host', n, 'test') from generate_series(1, 8) n").await;
    let publish = "select pubsub.publish('sms', '{}')";
    let mut costs = Vec::new();
    let mut known = 1;
    for sleepers in [1, 8, 9, 500] {
        for n in known..=sleepers {
            run(&format!("subscribe('sms', 's{n}')")).await;
            run(&format!(
                "start_waiting(s.id, {n} % 8 + 1, '1 hour') from pubsub.subscriptions s where s.name = 's{n}'"
            ))
            .await;
        }
        known = sleepers + 1;
        costs.push(pages(&db.client, publish).await);
        listener.rung().await;
        db.client.batch_execute(publish).await.unwrap();
        let rung = listener.rung().await;
        match sleepers {
            1 => assert_eq!(rung, ["sms 2"]),
            8 => assert_eq!(rung.len(), 8, "each process is rung for its own: {rung:?}"),
            _ => assert_eq!(rung, ["sms"], "one bell for all"),
        }
    }
    let [one, .., many] = costs[..] else { panic!("{costs:?}") };
    assert!(many <= one + 10, "pages of a publish with 1, 8, 9 and 500 sleepers: {costs:?}");
    run("stop_waiting(s.id, w.process) from pubsub.subscriptions s join pubsub.waiters w on w.subscription = s.id").await;
    listener.rung().await;
    db.client.batch_execute(publish).await.unwrap();
    assert_eq!(listener.rung().await, [] as [String; 0], "nobody sleeps");
}

#[actix::test]
async fn a_misspelt_channel_costs_no_search_of_all_channels() {
    let db = TestDatabase::new().await;
    let declare = "select pubsub.declare_channel('tenant-' || lpad(n::text, 6, '0') || '.orders') from generate_series(1, 5000) n";
    db.client.batch_execute(declare).await.unwrap();
    // The error is caught, so that its cost can be read.
    let publish = "do $$ begin
                       perform pubsub.publish('tenant-000001.ordesr', '{}');
                   exception when others then
                       assert sqlstate = 'PB001' and position('tenant-000001.orders' in sqlerrm) = 0;
                   end $$";
    let fetched = "select pg_stat_get_xact_blocks_fetched('pubsub.channels'::regclass)
                        + pg_stat_get_xact_blocks_fetched('pubsub.channels_pkey'::regclass)";
    db.client.batch_execute(publish).await.unwrap();
    db.client.batch_execute("begin").await.unwrap();
    let before = db.count(fetched).await;
    db.client.batch_execute(publish).await.unwrap();
    let blocks = db.count(fetched).await - before;
    db.client.batch_execute("rollback").await.unwrap();
    assert!(blocks < 40, "{blocks} blocks of the channels");
}

#[actix::test]
async fn redriven_letters_of_one_key_do_not_wait_on_each_other() {
    const LETTERS: i64 = 3_000;
    let db = TestDatabase::numbered().await;
    for sql in [
        "declare_channel('sms')",
        "subscribe('sms', 'one', lanes => 1)",
        "register_process('host', 1, 'test')",
    ] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    db.client.batch_execute("select from pubsub.claim(1, 1, 1)").await.unwrap();
    let bury = format!(
        "insert into pubsub.dead_letters (subscription, event_id, channel, key, payload, version, published_at, attempt,
                                          panics, crashes, reason)
         select 1, n, 'sms', 'order', '{{}}', 1, now(), 20, 0, 0, 'exhausted' from generate_series(1, {LETTERS}) n"
    );
    db.client.batch_execute(&bury).await.unwrap();
    let mut redriven = 0;
    while redriven < LETTERS {
        redriven += db.count("select pubsub.redrive('sms', 'one')").await;
    }
    // The claim returns a hundred of them, and changes each.
    for (statement, most) in
        [("select pubsub.claim_mailbox(1, 1, 100)", 3000), ("select pubsub.next_due('{1}', 1)", 300)]
    {
        let pages = pages(&db.client, statement).await;
        assert!(pages < most, "{pages} pages: {statement}");
    }
    for claim in 1..=5 {
        assert_eq!(db.count("select count(*) from pubsub.claim_mailbox(1, 1, 100)").await, 100);
        let settled = pages(&db.client, "select pubsub.settle(process, token) from pubsub.leases").await;
        assert!(settled < 3000, "{settled} pages to settle a hundred");
        db.client.batch_execute("select pubsub.settle(process, token) from pubsub.leases").await.unwrap();
        let next = db.count("select min(event_id) from pubsub.mailbox").await;
        assert_eq!(next, claim * 100 + 1, "in their order");
    }
}
