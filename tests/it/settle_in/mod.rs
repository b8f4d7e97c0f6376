//! A handler settles its delivery in its own transaction: what it writes and the settlement commit together, or not at all.

mod by_sql;
mod crash;

use pubsub::{
    Delivery, Error, Failure, Handled, PubSub, PublishOptions, SubscribeOptions, publish_all, publish_with,
};
use pubsub_tests::{DEADLINE, Sender, Sms, TestDatabase, connect, probe};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use tokio::sync::{Barrier, Semaphore};
use tokio_postgres::Transaction;

/// Creates the table of effects: what handlers write.
async fn database() -> TestDatabase {
    let db = TestDatabase::new().await;
    let table = "create table effects (id serial, msg text not null, attempt integer not null)";
    db.client.batch_execute(table).await.unwrap();
    db
}

/// Writes the effect of a delivery.
async fn write(transaction: &Transaction<'_>, sms: &Delivery<Sms>) -> Result<(), tokio_postgres::Error> {
    let insert = "insert into effects (msg, attempt) values ($1, $2)";
    transaction.execute(insert, &[&sms.msg, &sms.attempt().cast_signed()]).await.map(drop)
}

async fn effects(db: &TestDatabase) -> Vec<(String, i32)> {
    let rows = db.client.query("select msg, attempt from effects order by id", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits until all is settled, and checks that nothing is left of the settlements in transactions.
async fn until_settled(db: &TestDatabase) {
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.settled").await, 0, "the rows end with their leases");
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

#[actix::test]
async fn what_a_handler_writes_and_its_settlement_commit_together() {
    let db = database().await;
    let (sender, mut received) = probe();
    let url = db.url().to_owned();
    let handle = move |sms: Delivery<Sms>| {
        let (url, sender) = (url.clone(), sender.clone());
        async move {
            let (mut client, other) = (connect(&url).await, connect(&url).await);
            let settled = "select count(*) from effects, pubsub.settled where msg = $1";
            let transaction = client.transaction().await?;
            write(&transaction, &sms).await?;
            sms.settle_in(&transaction).await?;
            assert_eq!(
                other.query_one(settled, &[&sms.msg]).await?.get::<_, i64>(0),
                0,
                "nobody sees either before"
            );
            transaction.commit().await?;
            assert_eq!(
                other.query_one(settled, &[&sms.msg]).await?.get::<_, i64>(0),
                1,
                "all see both afterwards"
            );
            sender.send(sms.msg.clone());
            Ok(())
        }
    };
    let pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    for n in 0..3 {
        let msg = n.to_string();
        pubsub::publish(&pubsub, &Sms::new(&msg)).await.unwrap();
        assert_eq!(received.next().await, msg);
        until_settled(&db).await;
    }
    assert_eq!(effects(&db).await, [("0".into(), 1), ("1".into(), 1), ("2".into(), 1)]);
}

/// Whatever the handler answers: never is a delivery acknowledged whose settlement was rolled back.
#[actix::test]
async fn a_rolled_back_settlement_leaves_the_delivery_to_be_retried() {
    let db = database().await;
    let url = db.url().to_owned();
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let (url, sender) = (url.clone(), sender.clone());
        async move {
            let mut client = connect(&url).await;
            // Beside a seek, the mailbox has the delivery from its second attempt on.
            let why = client.query_opt("select last_error from pubsub.mailbox", &[]).await?;
            sender.send((sms.attempt(), why.and_then(|row| row.get::<_, Option<String>>(0))));
            let mut transaction = client.transaction().await?;
            match sms.attempt() {
                1 => {
                    write(&transaction, &sms).await?;
                    sms.settle_in(&transaction).await?;
                    transaction.rollback().await?;
                }
                2 => {
                    write(&transaction, &sms).await?;
                    sms.settle_in(&transaction).await?;
                    return Err(Failure::retry("changed its mind"));
                }
                3 => {
                    let savepoint = transaction.savepoint("settling").await?;
                    write(&savepoint, &sms).await?;
                    sms.settle_in(&savepoint).await?;
                    savepoint.rollback().await?;
                    transaction.commit().await?;
                }
                _ => {
                    write(&transaction, &sms).await?;
                    sms.settle_in(&transaction).await?;
                    transaction.commit().await?;
                }
            }
            Ok(())
        }
    };
    let pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    let rolled_back = "its handler answered Ok, but did not commit the transaction that settles it";
    let why = |text: &str| Some(text.to_owned());
    assert_eq!(received.next().await, (1, None));
    assert_eq!(received.next().await, (2, why(rolled_back)));
    assert_eq!(received.next().await, (3, why("changed its mind")));
    assert_eq!(received.next().await, (4, why(rolled_back)));
    until_settled(&db).await;
    assert_eq!(effects(&db).await, [("hello".into(), 4)]);
}

/// A commit whose answer is lost counts, although the handler can only report an error.
#[actix::test]
async fn a_committed_settlement_counts_whatever_the_handler_answers() {
    let db = database().await;
    let url = db.url().to_owned();
    let handle = move |sms: Delivery<Sms>| {
        let url = url.clone();
        async move {
            let mut client = connect(&url).await;
            let transaction = client.transaction().await?;
            write(&transaction, &sms).await?;
            sms.settle_in(&transaction).await?;
            transaction.commit().await?;
            match sms.msg.as_str() {
                "fails" => Err(Failure::retry("the answer to the commit was lost")),
                "snoozes" => Err(Failure::snooze(DEADLINE)),
                "rejects" => Err(Failure::reject("no")),
                _ => panic!("after the commit"),
            }
        }
    };
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    let answers = ["fails", "snoozes", "rejects", "panics"];
    publish_all(&db.client, &answers.map(Sms::new)).await.unwrap();
    db.until_count("select count(*) from effects", 4).await;
    until_settled(&db).await;
    let mut written = effects(&db).await;
    written.sort();
    let mut expected = answers.map(|msg| (msg.to_owned(), 1));
    expected.sort();
    assert_eq!(written, expected);
}

/// Declares all processes dead, as others would that have seen none of them for too long.
async fn take_over(db: &TestDatabase) {
    let dead = "select pubsub.orphan_leases(process, 'return', null) from pubsub.registrations; \
                delete from pubsub.registrations; delete from pubsub.processes";
    db.client.batch_execute(dead).await.unwrap();
}

#[actix::test]
async fn a_lease_that_was_lost_is_an_error_before_the_commit() {
    let db = database().await;
    let url = db.url().to_owned();
    let (sender, mut received): (Sender<String>, _) = probe();
    let (go_on, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(HashSet::new())));
    let handle = {
        let go_on = go_on.clone();
        move |sms: Delivery<Sms>| {
            let (url, sender, go_on) = (url.clone(), sender.clone(), go_on.clone());
            let is_first = begun.lock().unwrap().insert(sms.msg.clone());
            async move {
                let mut client = connect(&url).await;
                let transaction = client.transaction().await?;
                write(&transaction, &sms).await?;
                if is_first && sms.msg == "later" {
                    sms.settle_in(&transaction).await?;
                    sender.send("settled".into());
                    go_on.acquire().await?.forget();
                    let refused = transaction.commit().await.unwrap_err();
                    sender.send(refused.code().unwrap().code().to_owned());
                    return Ok(());
                }
                if is_first {
                    sender.send("begun".into());
                    go_on.acquire().await?.forget();
                }
                let settled = sms.settle_in(&transaction).await;
                if is_first {
                    let refused = settled.unwrap_err();
                    assert!(matches!(refused, Error::LeaseLost { .. }), "{refused:?}");
                    sender.send(format!("{} {}", refused.code(), refused.is_retryable()));
                    return Ok(());
                }
                settled?;
                transaction.commit().await?;
                sender.send("committed".into());
                Ok(())
            }
        }
    };
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    for (msg, ready, refused) in [("later", "settled", "PB010"), ("late", "begun", "PB010 false")] {
        pubsub::publish(&db.client, &Sms::new(msg)).await.unwrap();
        assert_eq!(received.next().await, ready);
        take_over(&db).await;
        // The process registers again, and the event comes again.
        assert_eq!(received.next().await, "committed");
        go_on.add_permits(1);
        assert_eq!(received.next().await, refused);
        until_settled(&db).await;
    }
    assert_eq!(db.count("select count(*) from effects").await, 2, "each event has one effect");
}

#[actix::test]
async fn handlers_of_one_batch_do_not_wait_for_each_others_commits() {
    const HANDLERS: usize = 4;
    let db = database().await;
    let pubsub = db.pubsub().subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let events: Vec<Sms> = (0..=HANDLERS).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();
    let (sender, mut received) = probe();
    let (url, gate) = (db.url().to_owned(), Arc::new(Barrier::new(HANDLERS + 1)));
    let handle = {
        let gate = gate.clone();
        move |sms: Delivery<Sms>| {
            let (url, gate, sender) = (url.clone(), gate.clone(), sender.clone());
            async move {
                sender.send(sms.token());
                if sms.msg == "0" {
                    return Ok(());
                }
                let mut client = connect(&url).await;
                let transaction = client.transaction().await?;
                write(&transaction, &sms).await?;
                sms.settle_in(&transaction).await?;
                gate.wait().await;
                transaction.commit().await?;
                Ok(())
            }
        }
    };
    let options = SubscribeOptions::new().concurrency(HANDLERS + 1);
    let _pubsub = db.pubsub().subscribe_fn_with("one", options, handle).start().await.unwrap();
    let tokens = received.take(HANDLERS + 1).await;
    let leases: HashSet<_> = tokens.iter().collect();
    assert!(leases.len() < HANDLERS, "handlers share a lease: {tokens:?}");
    // The other delivery is settled while the transactions are open.
    db.until_count("select sum(cardinality(event_ids))::bigint from pubsub.leases", HANDLERS as i64).await;
    gate.wait().await;
    until_settled(&db).await;
    assert_eq!(db.count("select count(*) from effects").await, HANDLERS as i64);
}

#[actix::test]
async fn the_next_event_of_a_key_starts_after_the_commit() {
    let db = database().await;
    let (url, before) = (db.url().to_owned(), "select count(*) from effects where msg like $1");
    let handle = move |sms: Delivery<Sms>| {
        let url = url.clone();
        async move {
            let mut client = connect(&url).await;
            let (key, n) = sms.msg.split_once(':').expect("key:n");
            let n: i64 = n.parse()?;
            let written: i64 = client.query_one(before, &[&format!("{key}:%")]).await?.get(0);
            if written != n {
                return Err(Failure::reject(format!("{written} events of the key before {}", sms.msg)));
            }
            let transaction = client.transaction().await?;
            write(&transaction, &sms).await?;
            sms.settle_in(&transaction).await?;
            // Some transactions are rolled back, and the handler answers Ok: the events behind must not overtake.
            if sms.attempt() == 1 && n % 4 == 2 {
                transaction.rollback().await?;
            } else {
                transaction.commit().await?;
            }
            Ok(())
        }
    };
    let options = || SubscribeOptions::new().ordered();
    let first = db.pubsub().subscribe_fn_with("ordered", options(), handle.clone()).start().await.unwrap();
    let _second = db.pubsub().subscribe_fn_with("ordered", options(), handle).start().await.unwrap();
    for n in 0..12 {
        for key in ["a", "b", "c"] {
            let sms = Sms::new(format!("{key}:{n}"));
            publish_with(&first, &sms, &PublishOptions::new().key(key)).await.unwrap();
        }
    }
    db.until_count("select count(*) from effects", 36).await;
    until_settled(&db).await;
    assert_eq!(db.count("select count(distinct msg) from effects").await, 36);
}

#[actix::test]
async fn a_client_settles_in_a_transaction_of_its_own() {
    async fn settle(pubsub: Option<PubSub>, url: &str, sms: &Delivery<Sms>) -> Handled {
        match pubsub {
            Some(pubsub) => sms.settle_in(&pubsub).await?,
            None => sms.settle_in(&connect(url).await).await?,
        }
        let again = sms.settle_in(&connect(url).await).await;
        assert!(matches!(again, Err(Error::LeaseLost { .. })), "settled once: {again:?}");
        Err(Failure::retry("too late, it is settled"))
    }
    let db = database().await;
    let (url, other) = (db.url().to_owned(), db.pubsub().start().await.unwrap());
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let (url, other, sender) = (url.clone(), other.clone(), sender.clone());
        async move {
            sender.send(sms.attempt());
            settle((sms.msg == "runtime").then_some(other), &url, &sms).await
        }
    };
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    publish_all(&db.client, &["client", "runtime"].map(Sms::new)).await.unwrap();
    assert_eq!(received.take(2).await, [1, 1]);
    until_settled(&db).await;
    assert!(received.rest().is_empty());
}
