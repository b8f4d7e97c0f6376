//! Suspects of one dead process are claimed together, unless the next death would be the last for one of them.

use pubsub_tests::TestDatabase;

/// A subscription whose processes die.
struct Mortals {
    db: TestDatabase,
}

impl Mortals {
    /// Creates a subscription with five events.
    async fn new() -> Self {
        let db = TestDatabase::new().await;
        for sql in [
            "select pubsub.declare_channel('sms')",
            "select pubsub.subscribe('sms', 'one')",
            "select pubsub.publish('sms', '{}') from generate_series(1, 5)",
        ] {
            db.client.batch_execute(sql).await.unwrap();
        }
        Self { db }
    }

    async fn process(&self) -> i64 {
        self.db.count("select pubsub.register_process('host', 1, 'test')").await
    }

    async fn die(&self, process: i64) {
        self.db.count(&format!("select pubsub.end_process({process}, 'crash', 'it died')")).await;
    }

    /// Claims from the log for a process. Returns the ids.
    async fn claim(&self, process: i64, batch: i32) -> Vec<i64> {
        self.ids("select id from pubsub.claim($1, $2, $3)", 1, process, batch).await
    }

    /// Claims suspects for a process. Returns their ids.
    async fn claim_suspects(&self, process: i64, batch: i32) -> Vec<i64> {
        self.claim_suspects_of(1, process, batch).await
    }

    /// Claims suspects of a subscription for a process. Returns their ids.
    async fn claim_suspects_of(&self, subscription: i32, process: i64, batch: i32) -> Vec<i64> {
        let claim = "select id from pubsub.claim_mailbox($1, $2, $3, suspect => true)";
        self.ids(claim, subscription, process, batch).await
    }

    async fn ids(&self, claim: &str, subscription: i32, process: i64, batch: i32) -> Vec<i64> {
        let rows = self.db.client.query(claim, &[&subscription, &process, &batch]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Lets a process die that has claimed two events of each of two subscriptions, and returns its heir. The heir and its own heir
    /// die in the same way if `deaths` says so.
    async fn die_with_two_subscriptions(&self, deaths: usize) -> i64 {
        self.db.client.batch_execute("select pubsub.subscribe('sms', 'two')").await.unwrap();
        self.db
            .client
            .batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 2)")
            .await
            .unwrap();
        let mut process = self.process().await;
        for subscription in [1, 2] {
            self.ids("select id from pubsub.claim($1, $2, $3)", subscription, process, 2).await;
        }
        for death in 1..=deaths {
            self.die(process).await;
            process = self.process().await;
            for subscription in (death < deaths).then_some([1, 2]).into_iter().flatten() {
                assert_eq!(self.claim_suspects_of(subscription, process, 10).await.len(), 2, "side by side");
            }
        }
        process
    }

    /// Lets two processes die that have claimed three events and two. Returns the events of both.
    async fn die_twice(&self) -> (Vec<i64>, Vec<i64>) {
        let mut leases = Vec::new();
        for batch in [3, 2] {
            let process = self.process().await;
            leases.push(self.claim(process, batch).await);
            self.die(process).await;
        }
        let second = leases.pop().unwrap();
        (leases.pop().unwrap(), second)
    }

    /// Lets a process die that has claimed the first three events and then the other two. Returns the events of both leases.
    async fn die_with_two_leases(&self) -> (Vec<i64>, Vec<i64>) {
        let process = self.process().await;
        let mut leases = Vec::new();
        for batch in [3, 2] {
            leases.push(self.claim(process, batch).await);
        }
        self.die(process).await;
        let second = leases.pop().unwrap();
        (leases.pop().unwrap(), second)
    }
}

#[actix::test]
async fn suspects_of_one_dead_process_are_claimed_together() {
    let mortals = Mortals::new().await;
    let (first, second) = mortals.die_with_two_leases().await;
    let heir = mortals.process().await;
    assert_eq!(mortals.claim_suspects(heir, 2).await, first[..2], "no more than there is room for");
    let rest = [&first[2..], &second].concat();
    assert_eq!(mortals.claim_suspects(heir, 10).await, rest, "the rest of both leases");
    assert_eq!(mortals.claim_suspects(heir, 10).await, [] as [i64; 0]);
}

#[actix::test]
async fn suspects_whose_process_died_again_are_claimed_one_by_one() {
    let mortals = Mortals::new().await;
    let (first, second) = mortals.die_twice().await;
    let heir = mortals.process().await;
    assert_eq!(mortals.claim_suspects(heir, 10).await, first, "of one process");
    mortals.die(heir).await;
    let heir = mortals.process().await;
    assert_eq!(mortals.claim_suspects(heir, 10).await, second, "they died once");
    for event in first {
        assert_eq!(mortals.claim_suspects(heir, 10).await, [event], "it died twice");
    }
}

#[actix::test]
async fn suspects_start_no_more_than_their_claim_says() {
    let mortals = Mortals::new().await;
    let (first, _) = mortals.die_with_two_leases().await;
    let heir = mortals.process().await;
    let claim = "select id from pubsub.claim_mailbox(1, $1, 3, suspect => true, start_limit => 1)";
    assert_eq!(mortals.db.client.query(claim, &[&heir]).await.unwrap().len(), 3);
    mortals.die(heir).await;
    let twice = "select count(*) from pubsub.mailbox where crashes = 2 and attempt = 2";
    assert_eq!(mortals.db.count(&format!("{twice} and event_id = {}", first[0])).await, 1);
    assert_eq!(mortals.db.count(twice).await, 1, "the others had not started");
}

#[actix::test]
async fn a_suspect_that_must_not_die_again_is_claimed_alone() {
    for limit in ["max_crashes = 2", "max_attempts = 2"] {
        let mortals = Mortals::new().await;
        mortals.db.client.batch_execute(&format!("update pubsub.subscriptions set {limit}")).await.unwrap();
        let (first, _) = mortals.die_with_two_leases().await;
        let heir = mortals.process().await;
        assert_eq!(mortals.claim_suspects(heir, 10).await, first[..1], "{limit}");
        mortals.die(heir).await;
        let crashed = "select count(*) from pubsub.dead_letters where reason = 'crashed'";
        assert_eq!(mortals.db.count(crashed).await, 1, "only the one that died again ({limit})");
    }
}

impl Mortals {
    /// Subscribes with lanes, and publishes twenty events whose keys this expression gives, from their number `n`.
    async fn with_lanes(key: &str) -> Self {
        let db = TestDatabase::new().await;
        let publish = format!("publish('sms', '{{}}', key => {key}) from generate_series(1, 20) n");
        for sql in ["declare_channel('sms')", "subscribe('sms', 'one', lanes => 4)", &publish] {
            db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
        }
        Self { db }
    }
}

#[actix::test]
async fn suspects_of_all_lanes_are_claimed_together() {
    let mortals = Mortals::with_lanes("n::text").await;
    let process = mortals.process().await;
    let mut claimed = mortals.claim(process, 20).await;
    let leases = mortals.db.count("select count(*) from pubsub.leases").await;
    assert!(leases > 1, "{claimed:?} in {leases} leases");
    mortals.die(process).await;
    let mut suspects = mortals.claim_suspects(mortals.process().await, 20).await;
    claimed.sort_unstable();
    suspects.sort_unstable();
    assert_eq!(suspects, claimed);
}

#[actix::test]
async fn suspects_of_one_key_are_claimed_together() {
    let mortals = Mortals::with_lanes("'key'").await;
    let process = mortals.process().await;
    let claimed = mortals.claim(process, 10).await;
    mortals.die(process).await;
    let heir = mortals.process().await;
    assert_eq!(mortals.claim_suspects(heir, 20).await, claimed);
    mortals.die(heir).await;
    let heir = mortals.process().await;
    assert_eq!(mortals.claim_suspects(heir, 20).await, claimed[..1], "it died twice");
}

#[actix::test]
async fn a_suspect_that_must_not_die_again_is_alone_in_its_process() {
    let mortals = Mortals::new().await;
    let heir = mortals.die_with_two_subscriptions(2).await;
    let alone = mortals.claim_suspects_of(1, heir, 10).await;
    assert_eq!(alone.len(), 1);
    assert_eq!(mortals.claim_suspects_of(2, heir, 10).await, [] as [i64; 0], "the process has one");
    let other = mortals.process().await;
    let elsewhere = mortals.claim_suspects_of(2, other, 10).await;
    assert_eq!(elsewhere.len(), 1, "another process has none");

    let token = format!("select token from pubsub.leases where process = {heir}");
    let done = format!("select pubsub.settle({heir}, ({token}), array[{}])", alone[0]);
    mortals.db.client.batch_execute(&done).await.unwrap();
    let next = mortals.claim_suspects_of(2, heir, 10).await;
    assert_eq!(next.len(), 1, "it is settled");
    assert_ne!(next, elsewhere);
}

#[actix::test]
async fn no_group_runs_beside_a_suspect_that_must_not_die_again() {
    let mortals = Mortals::new().await;
    let only_one = "update pubsub.subscriptions set max_crashes = 2 where id = 1";
    mortals.db.client.batch_execute(only_one).await.unwrap();
    let heir = mortals.die_with_two_subscriptions(1).await;
    assert_eq!(mortals.claim_suspects_of(1, heir, 10).await.len(), 1);
    assert_eq!(mortals.claim_suspects_of(2, heir, 10).await, [] as [i64; 0], "the process has one");
    let passes = "update pubsub.leases set claimed_at = claimed_at - interval '5 seconds'";
    mortals.db.client.batch_execute(passes).await.unwrap();
    assert_eq!(mortals.claim_suspects_of(2, heir, 10).await.len(), 2, "it has been alone for long enough");
}
