//! Any list of dispositions settles as its words say, and one that is malformed changes nothing.

use super::{TestCaseResult, check};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio_postgres::Client;

const ACTIONS: [&str; 8] =
    ["retry", "panic", "snooze", "return", "reject", "undecodable", "too_new", "crash"];

/// The words about one event of a lease.
#[derive(Debug, Clone)]
struct Said {
    action: &'static str,
    /// In microseconds.
    delay: Option<u64>,
    error: Option<String>,
}

impl Said {
    fn disposition(&self, id: i64) -> Value {
        let mut disposition = json!({ "id": id, "action": self.action });
        if let Some(micros) = self.delay {
            let text = format!("{}.{:06} seconds", micros / 1_000_000, micros % 1_000_000);
            disposition["delay"] = text.into();
        }
        if let Some(error) = &self.error {
            disposition["error"] = error.as_str().into();
        }
        disposition
    }

    /// The reason for which the first attempt ends in a dead letter.
    fn reason(&self, limits: &Limits) -> Option<&'static str> {
        let last_attempt = limits.max_attempts == 1;
        match self.action {
            "reject" => Some("rejected"),
            "undecodable" => Some("undecodable"),
            "panic" if limits.max_panics == 1 => Some("panicked"),
            "retry" | "panic" if last_attempt => Some("exhausted"),
            "crash" if last_attempt => Some("crashed"),
            _ => None,
        }
    }

    /// Attempts, panics and crashes that are counted.
    fn counts(&self) -> [i32; 3] {
        let is = |actions: &[&str]| i32::from(actions.contains(&self.action));
        [1 - is(&["snooze", "return", "too_new"]), is(&["panic"]), is(&["crash"])]
    }
}

#[derive(Debug, Clone)]
struct Limits {
    max_attempts: i32,
    max_panics: i32,
}

/// A lease, and what is said about its events; nothing is said about those that are done.
#[derive(Debug, Clone)]
struct Settlement {
    limits: Limits,
    from_mailbox: bool,
    said: Vec<Option<Said>>,
    /// Whether the events that are done are named.
    names_done: bool,
}

fn settlements() -> impl Strategy<Value = Settlement> {
    // As long as a handler may ask for, and no longer than the database's clock goes.
    let delay = prop_oneof![Just(0), 0..5_000_000_u64, 0..=315_360_000_000_000_u64];
    let said = (select(&ACTIONS[..]), prop::option::of(delay), prop::option::of("[^\0]{0,9}"))
        .prop_map(|(action, delay, error)| Said { action, delay, error });
    let limits =
        (1..=2_i32, 1..=2_i32).prop_map(|(max_attempts, max_panics)| Limits { max_attempts, max_panics });
    let said = prop::collection::vec(prop::option::weighted(0.8, said), 1..5);
    (limits, any::<bool>(), said, any::<bool>()).prop_map(|(limits, from_mailbox, said, names_done)| {
        Settlement { limits, from_mailbox, said, names_done }
    })
}

/// A lease of one event for each that something is said about.
struct Lease<'a> {
    client: &'a Client,
    process: i64,
    token: i64,
    ids: Vec<i64>,
}

impl<'a> Lease<'a> {
    async fn take(client: &'a Client, of: &Settlement) -> Self {
        let remove = "select pubsub.unsubscribe('sms', s.name, true) from pubsub.subscriptions s";
        client.batch_execute(remove).await.unwrap();
        let Limits { max_attempts, max_panics } = of.limits;
        let subscribe = "select pubsub.subscribe('sms', 'one', $1, $2)";
        let row = client.query_one(subscribe, &[&max_attempts, &max_panics]).await.unwrap();
        let subscription: i32 = row.get(0);
        let register = "select pubsub.register_process('host', 1, 'test')";
        let process: i64 = client.query_one(register, &[]).await.unwrap().get(0);
        let publish = "select pubsub.publish('sms', '{}', 'one key') from generate_series(1, $1::integer)";
        client.query(publish, &[&i32::try_from(of.said.len()).unwrap()]).await.unwrap();
        let claimed = client
            .query("select token, id from pubsub.claim($1, $2, 9)", &[&subscription, &process])
            .await
            .unwrap();
        let mut lease = Self {
            client,
            process,
            token: claimed[0].get(0),
            ids: claimed.iter().map(|row| row.get(1)).collect(),
        };
        if of.from_mailbox {
            let back = lease.ids.iter().map(|id| json!({ "id": id, "action": "return" })).collect();
            assert!(lease.settle(None, &back).await.unwrap());
            let claim = "select token, id from pubsub.claim_mailbox($1, $2, 9)";
            let claimed = client.query(claim, &[&subscription, &process]).await.unwrap();
            lease.token = claimed[0].get(0);
            lease.ids = claimed.iter().map(|row| row.get(1)).collect();
        }
        lease
    }

    async fn settle(
        &self,
        acknowledged: Option<&[Option<i64>]>,
        dispositions: &Value,
    ) -> Result<bool, tokio_postgres::Error> {
        let sql = "select pubsub.settle($1, $2, $3, $4)";
        let row =
            self.client.query_one(sql, &[&self.process, &self.token, &acknowledged, &dispositions]).await?;
        Ok(row.get(0))
    }

    /// Everything that the lease, the mailbox and the dead letters have.
    async fn state(&self) -> String {
        let sql = "select coalesce((select string_agg(l::text, ' ' order by l.token) from pubsub.leases l), '')
                       || coalesce((select string_agg(m::text, ' ' order by m.event_id) from pubsub.mailbox m), '')
                       || coalesce((select string_agg(d::text, ' ' order by d.event_id) from pubsub.dead_letters d), '')";
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

/// A row of the mailbox or of the dead letters, as it should be.
#[derive(Debug, PartialEq)]
struct Outcome {
    reason: Option<String>,
    counts: [i32; 3],
    error: Option<String>,
}

async fn outcomes(client: &Client) -> BTreeMap<i64, Outcome> {
    let sql = "select event_id, null, attempt, panics, crashes, last_error from pubsub.mailbox
               union all
               select event_id, reason, attempt, panics, crashes, error from pubsub.dead_letters";
    let rows = client.query(sql, &[]).await.unwrap();
    let outcome = |row: &tokio_postgres::Row| {
        let counts = [row.get(2), row.get(3), row.get(4)];
        (row.get(0), Outcome { reason: row.get(1), counts, error: row.get(5) })
    };
    rows.iter().map(outcome).collect()
}

/// Whether each delivery in the mailbox is due its delay after the time between these two.
async fn due_as_said(client: &Client, delays: &BTreeMap<i64, u64>, before: &str) -> TestCaseResult {
    let sql = "select event_id, due_at >= $1::text::timestamptz + delay, due_at <= clock_timestamp() + delay
                 from (select m.*, $2::bigint[] as ids, $3::bigint[] as delays from pubsub.mailbox m) m
                cross join lateral (
                    select delays[array_position(ids, event_id)] * interval '1 microsecond' as delay
                ) d";
    let (ids, delays): (Vec<i64>, Vec<i64>) =
        delays.iter().map(|(id, delay)| (*id, i64::try_from(*delay).unwrap())).unzip();
    for row in client.query(sql, &[&before, &ids, &delays]).await.unwrap() {
        let due: (i64, bool, bool) = (row.get(0), row.get(1), row.get(2));
        prop_assert!(due.1 && due.2, "{:?}", due);
    }
    Ok(())
}

#[test]
fn dispositions_settle_as_their_words_say() {
    check(&settlements(), &async |client, settlement| {
        let lease = Lease::take(client, &settlement).await;
        let said: Vec<(i64, &Said)> = lease
            .ids
            .iter()
            .zip(&settlement.said)
            .filter_map(|(id, said)| Some((*id, said.as_ref()?)))
            .collect();
        let dispositions: Value = said.iter().map(|(id, said)| said.disposition(*id)).collect();
        let is_said = |id: &i64| said.iter().any(|(known, _)| known == id);
        let done: Vec<Option<i64>> = lease.ids.iter().filter(|id| !is_said(id)).map(|id| Some(*id)).collect();
        let before: String = client.query_one("select clock_timestamp()::text", &[]).await.unwrap().get(0);
        let acknowledged = settlement.names_done.then_some(done.as_slice());
        prop_assert!(lease.settle(acknowledged, &dispositions).await.unwrap());
        let expected: BTreeMap<i64, Outcome> = said
            .iter()
            .map(|(id, said)| {
                let reason = said.reason(&settlement.limits).map(str::to_owned);
                (*id, Outcome { reason, counts: said.counts(), error: said.error.clone() })
            })
            .collect();
        prop_assert_eq!(outcomes(client).await, expected);
        let delays = said.iter().map(|(id, said)| (*id, said.delay.unwrap_or(0))).collect();
        due_as_said(client, &delays, &before).await?;
        prop_assert!(!lease.settle(acknowledged, &dispositions).await.unwrap(), "a second time");
        Ok(())
    });
}

/// Replaces a part of a list of dispositions by something that is none.
fn broken() -> impl Strategy<Value = (Settlement, Index, &'static str, Value)> {
    let values = || {
        let json = [
            "null",
            "true",
            "\"\"",
            "\"soon\"",
            "\"\\u001b[2J\"",
            "1.5",
            "1e30",
            "-1",
            "99999",
            "[]",
            "{}",
            "\"1.5\"",
            "\"300000000 years\"",
            "9223372036854775808",
        ];
        select(json.map(|json| serde_json::from_str::<Value>(json).unwrap()).to_vec())
    };
    let places = select(vec!["all", "element", "id", "action", "delay", "twice", "acknowledged", "null"]);
    (settlements(), any::<Index>(), places, values())
}

#[test]
fn malformed_dispositions_are_refused_and_change_nothing() {
    check(&broken(), &async |client, (settlement, at, place, value)| {
        let lease = Lease::take(client, &settlement).await;
        let id = lease.ids[at.index(lease.ids.len())];
        let retry = |id: i64| json!({ "id": id, "action": "retry", "delay": "1 s" });
        let mut list: Vec<Value> = lease.ids.iter().map(|id| retry(*id)).collect();
        let at = at.index(list.len());
        let mut acknowledged = None;
        match place {
            "all" => {}
            "element" => list[at] = value.clone(),
            "twice" => list.push(retry(id)),
            "acknowledged" => acknowledged = Some(vec![Some(id)]),
            "null" => acknowledged = Some(vec![None]),
            field => list[at][field] = value.clone(),
        }
        let dispositions = if place == "all" { value.clone() } else { list.into() };
        let is_fine = match place {
            "all" => value == json!([]),
            "delay" => [json!(null), json!("1.5"), json!(1.5), json!(-1), json!(99999)].contains(&value),
            _ => false,
        };
        prop_assume!(!is_fine);
        let before = lease.state().await;
        let refused = lease.settle(acknowledged.as_deref(), &dispositions).await;
        let Err(refused) = refused else {
            return Err(TestCaseError::fail(format!("accepted: {dispositions}")));
        };
        let Some(refused) = refused.as_db_error() else {
            return Err(TestCaseError::fail(format!("{dispositions}: {refused:?}")));
        };
        prop_assert_eq!(refused.code().code(), "22023", "{}: {:?}", dispositions, refused);
        prop_assert!(!refused.message().contains(char::is_control), "{:?}", refused);
        prop_assert_eq!(lease.state().await, before);
        Ok(())
    });
}
