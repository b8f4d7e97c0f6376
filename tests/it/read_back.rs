//! A published payload is read back as it was written, and one that its own type cannot read is refused.

use pubsub::schema::PayloadError;
use pubsub::{Channel, Delivery, Error, publish, publish_all};
use pubsub_tests::{TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Channel)]
#[channel("reading")]
struct Reading {
    exact: Vec<f64>,
    short: Vec<f32>,
}

fn reading(exact: &[f64]) -> Reading {
    Reading { exact: exact.to_vec(), short: Vec::new() }
}

/// The floats that are hard to read: limits, and neighbours of short decimals.
fn awkward() -> Vec<f64> {
    let limits = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::EPSILON, f64::from_bits(1), 1e16, 1e300, 0.0];
    let tenths = (0..1_000).map(|n| 0.1 * f64::from(n));
    limits.into_iter().chain(tenths).collect()
}

#[actix::test]
async fn a_float_is_read_back_bit_for_bit() {
    let db = TestDatabase::new().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut exact = awkward();
    exact.extend(std::iter::repeat_with(|| random.f64()).take(3_000));
    let any = std::iter::repeat_with(|| f64::from_bits(random.u64(..)));
    exact.extend(any.filter(|number| number.is_finite()).take(300));
    let short =
        std::iter::repeat_with(|| f32::from_bits(random.u32(..))).filter(|n| n.is_finite() && *n != 0.0);
    let written = Reading { exact, short: short.take(300).collect() };
    let (sender, mut received) = probe();
    let read = sending(sender, |reading: Delivery<Reading>| reading.into_payload());
    let _pubsub = db.pubsub().subscribe_fn("one", read).start().await.unwrap();
    publish(&db.client, &written).await.unwrap();
    let read = received.next().await;
    let bits = |reading: &Reading| -> (Vec<u64>, Vec<u32>) {
        (
            reading.exact.iter().map(|n| n.to_bits()).collect(),
            reading.short.iter().map(|n| n.to_bits()).collect(),
        )
    };
    // jsonb has no negative zero.
    let zero = |n: &f64| if *n == 0.0 { 0.0 } else { *n };
    let written = Reading { exact: written.exact.iter().map(zero).collect(), ..written };
    assert!(bits(&read) == bits(&written), "of {} floats, some changed", written.exact.len());
}

/// Written without its second field, which has no default.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("forgetful")]
struct Forgetful {
    kept: String,
    #[serde(skip_serializing)]
    skipped: String,
}

#[actix::test]
async fn a_payload_that_its_type_cannot_read_is_refused() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Reading>().declare::<Forgetful>().start().await.unwrap();
    let refused = |error: Error| match error {
        Error::InvalidPayload { source: PayloadError::Unreadable { at }, .. } => at,
        other => panic!("{other:?}"),
    };
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let at = refused(publish(&db.client, &reading(&[1.0, number])).await.unwrap_err());
        assert!((15..=20).contains(&at), "`null` stands after `{{\"exact\":[1.0,`, not at {at}");
        refused(publish_all(&db.client, &[reading(&[1.0]), reading(&[number])]).await.unwrap_err());
    }
    let forgetful = Forgetful { kept: "a secret".into(), skipped: "x".into() };
    let error = publish(&db.client, &forgetful).await.unwrap_err();
    let said = format!("{error:?} {error}");
    assert!(
        !said.contains("secret") && !forgetful.skipped.is_empty() && forgetful.kept == "a secret",
        "{said}"
    );
    refused(error);
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 0);
}
