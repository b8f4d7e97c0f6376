//! Everything `#[channel(..)]` takes, on every kind of type.

use pubsub::{Backoff, Channel};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::time::Duration;

/// Sent when an order
/// is paid.
///
/// Not sent for refunds.
#[derive(Serialize, Deserialize, Channel)]
#[channel(
    "order.paid",
    version = 3,
    max_attempts = 8,
    backoff(initial = "1.5s", factor = 3, max = "1h", jitter = 0.25),
    max_panics = 5,
    timeout = "1.5s"
)]
struct OrderPaid {
    id: i64,
    customer: String,
    total: Option<u64>,
}

/// Held against its schema.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Channel)]
#[channel("strict", strict)]
struct Strict {
    id: i64,
}

/// Only a name: every default holds.
#[derive(Serialize, Deserialize, Channel)]
#[channel("sms")]
pub struct Sms(pub String);

#[derive(Serialize, Deserialize, Channel)]
#[channel("heartbeat", backoff(), timeout = "24h")]
pub(crate) struct Heartbeat;

/** A block comment,
 * with stars.
 */
#[derive(Serialize, Deserialize, Channel)]
#[channel("7-payment_method.v2", backoff(initial = "250ms"))]
#[serde(tag = "kind")]
enum Payment {
    Card { number: String },
    Cash,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("envelope", backoff(max = "2m"))]
struct Envelope<T, const VERSION: usize = 1>
where
    T: Clone,
{
    content: Vec<T>,
    #[serde(skip)]
    unit: &'static str,
    marker: PhantomData<fn(&T)>,
}

/// A type under names that the expansion must not mistake for the real ones.
mod shadowed {
    #![allow(dead_code, non_camel_case_types)]

    pub mod reexport {
        pub use pubsub;
    }

    mod pubsub {}
    mod core {}
    mod std {}
    struct u32;
    struct Option;
    struct Some;
    struct Backoff;
    struct Duration;
    trait Channel {}

    #[derive(::serde::Serialize, ::serde::Deserialize, ::pubsub::Channel)]
    #[channel("shadowed", version = 2, max_attempts = 1, backoff(initial = "1s", jitter = 0))]
    pub struct Shadowed {
        pub id: i64,
    }

    #[derive(::serde::Serialize, ::serde::Deserialize, ::pubsub::Channel)]
    #[channel(
        "elsewhere",
        crate = crate::shadowed::reexport::pubsub,
        backoff(factor = 1.0),
        max_panics = 1,
        timeout = "1ms"
    )]
    pub struct Elsewhere {
        pub id: i64,
    }
}

/// Literals, types and `$crate` reach the derive from a macro as they do from a file.
mod from_macro {
    pub use pubsub;

    macro_rules! channel {
        ($type:ident, $name:literal, $attempts:literal, $timeout:literal, $path:path) => {
            #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
            #[channel($name, max_attempts = $attempts, timeout = $timeout, crate = $path)]
            pub struct $type;
        };
        ($type:ident) => {
            #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
            #[channel("dollar", crate = $crate::from_macro::pubsub)]
            pub struct $type;
        };
    }

    channel!(Generated, "generated", 4, "2m", ::pubsub);
    channel!(Dollar);
}

fn main() {
    assert_eq!(OrderPaid::NAME, "order.paid");
    assert_eq!(OrderPaid::DESCRIPTION, "Sent when an order is paid.\n\nNot sent for refunds.");
    assert_eq!(OrderPaid::VERSION, 3);
    assert_eq!(OrderPaid::MAX_ATTEMPTS, 8);
    let backoff = Backoff::new(Duration::from_millis(1_500), 3.0, Duration::from_secs(3_600), 0.25);
    assert_eq!(OrderPaid::BACKOFF, backoff);
    assert_eq!(OrderPaid::MAX_PANICS, 5);
    assert_eq!(OrderPaid::TIMEOUT, Some(Duration::from_millis(1_500)));

    assert!(Strict::STRICT);
    assert!(!Sms::STRICT);

    assert_eq!(Sms::NAME, "sms");
    assert_eq!(Sms::DESCRIPTION, "Only a name: every default holds.");
    assert_eq!(Sms::VERSION, 1);
    assert_eq!(Sms::MAX_ATTEMPTS, 20);
    assert_eq!(Sms::BACKOFF, Backoff::DEFAULT);
    assert_eq!(Sms::MAX_PANICS, 3);
    assert_eq!(Sms::TIMEOUT, None);

    assert_eq!(Heartbeat::DESCRIPTION, "");
    assert_eq!(Heartbeat::BACKOFF, Backoff::DEFAULT);
    assert_eq!(Heartbeat::TIMEOUT, Some(Duration::from_secs(24 * 60 * 60)));

    assert_eq!(Payment::NAME, "7-payment_method.v2");
    assert_eq!(Payment::DESCRIPTION, "A block comment, with stars.");

    assert_eq!(<Envelope<String>>::NAME, "envelope");
    assert_eq!(<Envelope<OrderPaidId, 2>>::NAME, "envelope");

    assert_eq!(shadowed::Shadowed::VERSION, 2);
    assert_eq!(shadowed::Shadowed::BACKOFF.jitter(), 0.0);
    assert_eq!(shadowed::Elsewhere::BACKOFF.factor(), 1.0);
    assert_eq!(shadowed::Elsewhere::MAX_PANICS, 1);
    assert_eq!(shadowed::Elsewhere::TIMEOUT, Some(Duration::from_millis(1)));
    assert_eq!(from_macro::Generated::NAME, "generated");
    assert_eq!(from_macro::Generated::MAX_ATTEMPTS, 4);
    assert_eq!(from_macro::Generated::TIMEOUT, Some(Duration::from_secs(120)));
    assert_eq!(from_macro::Dollar::NAME, "dollar");

    what_backoff_leaves_out_is_as_in_the_default();
    a_type_inside_a_function_can_be_a_channel();
}

#[derive(Serialize, Deserialize, Clone)]
struct OrderPaidId(i64);

/// The derive compares with these numbers, and cannot read them itself.
fn what_backoff_leaves_out_is_as_in_the_default() {
    let default = Backoff::DEFAULT;
    assert_eq!(default.initial(), Duration::from_secs(1));
    assert_eq!(default.max(), Duration::from_secs(15 * 60));
    assert_eq!(Backoff::LONGEST, Duration::from_secs(24 * 60 * 60));

    let only_initial =
        Backoff::new(Duration::from_millis(250), default.factor(), default.max(), default.jitter());
    assert_eq!(Payment::BACKOFF, only_initial);
    let only_max =
        Backoff::new(default.initial(), default.factor(), Duration::from_secs(120), default.jitter());
    assert_eq!(<Envelope<u8>>::BACKOFF, only_max);
}

#[deny(warnings)]
fn a_type_inside_a_function_can_be_a_channel() {
    #[derive(Serialize, Deserialize, Channel)]
    #[channel("local", crate = ::pubsub)]
    struct Local;

    assert_eq!(Local::NAME, "local");
}
