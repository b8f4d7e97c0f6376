//! Every key of `#[channel(..)]`, on every kind of type.

use pubsub::{Backoff, Channel, Retention};
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
    upcast_from = none,
    max_attempts = 8,
    backoff(initial = "1.5s", factor = 3, max = "1h", jitter = 0.25),
    max_panics = 5,
    max_crashes = 4,
    timeout = "1.5s",
    retention = "30d",
    key = customer,
    ordered,
    dedupe = "{{{id}}}:{customer}"
)]
struct OrderPaid {
    id: i64,
    #[channel(redact)]
    customer: String,
    total: Option<u64>,
}

/// Payloads are checked against the schema.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Channel)]
#[channel("strict", strict)]
struct Strict {
    id: i64,
}

/// Only a name, so every default applies.
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

/// Enums in every representation of serde, with keys and redacted fields.
mod enums {
    use super::{Channel, Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("externally", key = id, dedupe = "{id}", retention = "forever")]
    pub enum Externally {
        Card {
            id: u64,
            #[channel(redact)]
            number: String,
        },
        Cash {
            id: u64,
        },
    }

    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("internally", key = r#type, dedupe = "{type}")]
    #[serde(tag = "kind", rename_all_fields = "camelCase")]
    pub enum Internally {
        Card {
            r#type: char,
            #[channel(redact)]
            #[serde(rename = "secret")]
            number: String,
        },
        Cash {
            r#type: char,
        },
    }

    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("adjacently", key = 0, ordered)]
    #[serde(tag = "kind", content = "of")]
    pub enum Adjacently {
        Card(u64, #[channel(redact)] String),
        Cash(Option<u64>),
    }

    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("untagged", key = order.id.0, dedupe = "{order.id.0}/{order.part}")]
    #[serde(untagged)]
    pub enum Untagged {
        Card {
            order: Order,
            #[channel(redact)]
            number: String,
        },
        Cash {
            order: Order,
        },
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub struct Order {
        pub id: (u64, u8),
        pub part: Option<String>,
    }

    /// No event can exist.
    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("never")]
    pub enum Never {}
}

/// A generic key that implements `Display`.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("generic", key = 0, dedupe = "{0}")]
struct Generic<T: std::fmt::Display>(T, #[channel(redact)] Opaque);

/// A field without `Debug` beside a redacted one.
#[derive(Serialize, Deserialize, Channel)]
#[channel("without.debug", key = 0)]
struct WithoutDebug(#[channel(redact)] u8, Opaque);

#[derive(Serialize, Deserialize)]
struct Opaque;

impl std::fmt::Debug for Opaque {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("a redacted field is not formatted")
    }
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

/// A module with names that the expansion must not confuse with the real ones.
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
    struct None;
    struct Cow;
    struct Backoff;
    struct Duration;
    trait Channel {}

    #[derive(::serde::Serialize, ::serde::Deserialize, ::pubsub::Channel)]
    #[channel(
        "shadowed",
        version = 2,
        upcast_from = none,
        max_attempts = 1,
        backoff(initial = "1s", jitter = 0),
        retention = "0s",
        key = id,
        ordered,
        dedupe = "{id}-{r}"
    )]
    pub struct Shadowed {
        pub id: i64,
        #[channel(redact)]
        pub r: i64,
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

/// Literals, types and `$crate` that reach the derive through a macro.
mod from_macro {
    pub use pubsub;

    macro_rules! channel {
        ($type:ident, $name:literal, $attempts:literal, $timeout:literal, $path:path) => {
            #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
            #[channel($name, max_attempts = $attempts, timeout = $timeout, crate = $path)]
            pub struct $type;
        };
        ($type:ident, $field:ident) => {
            #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
            #[channel("keyed", key = $field, dedupe = "{id}")]
            pub struct $type {
                pub id: u8,
                #[channel(redact)]
                pub $field: u8,
            }
        };
        ($type:ident) => {
            #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
            #[channel("dollar", crate = $crate::from_macro::pubsub)]
            pub struct $type;
        };
    }

    channel!(Generated, "generated", 4, "2m", ::pubsub);
    channel!(Dollar);
    channel!(Keyed, other);
}

fn main() {
    assert_eq!(OrderPaid::NAME, "order.paid");
    assert_eq!(OrderPaid::DESCRIPTION, "Sent when an order is paid.\n\nNot sent for refunds.");
    assert_eq!(OrderPaid::VERSION, 3);
    assert_eq!(OrderPaid::MAX_ATTEMPTS, 8);
    let backoff = Backoff::exponential(Duration::from_millis(1_500)).factor(3.0).max(Duration::from_secs(3_600)).jitter(0.25);
    assert_eq!(OrderPaid::BACKOFF, backoff);
    assert_eq!(OrderPaid::MAX_PANICS, 5);
    assert_eq!(OrderPaid::MAX_CRASHES, 4);
    assert_eq!(OrderPaid::TIMEOUT, Some(Duration::from_millis(1_500)));
    assert_eq!(OrderPaid::RETENTION, Retention::For(Duration::from_secs(30 * 24 * 60 * 60)));
    const { assert!(OrderPaid::ORDERED) };
    assert_eq!(OrderPaid::REDACTED, ["customer"]);
    let paid = OrderPaid { id: 17, customer: "Ada".to_owned(), total: None };
    assert_eq!(paid.key().as_deref(), Some("Ada"));
    assert_eq!(paid.dedupe_key().as_deref(), Some("{17}:Ada"));

    assert!(Strict::STRICT);
    assert!(!Sms::STRICT);

    assert_eq!(Sms::NAME, "sms");
    assert_eq!(Sms::DESCRIPTION, "Only a name, so every default applies.");
    assert_eq!(Sms::VERSION, 1);
    assert_eq!(Sms::MAX_ATTEMPTS, 20);
    assert_eq!(Sms::BACKOFF, Backoff::DEFAULT);
    assert_eq!(Sms::MAX_PANICS, 3);
    assert_eq!(Sms::MAX_CRASHES, 3);
    assert_eq!(Sms::TIMEOUT, None);
    assert_eq!(Sms::RETENTION, Retention::Default);
    const { assert!(!Sms::ORDERED) };
    assert_eq!(Sms::REDACTED, [""; 0]);
    assert_eq!(Sms(String::new()).key(), None);
    assert_eq!(Sms(String::new()).dedupe_key(), None);

    assert_eq!(Heartbeat::DESCRIPTION, "");
    assert_eq!(Heartbeat::BACKOFF, Backoff::DEFAULT);
    assert_eq!(Heartbeat::TIMEOUT, Some(Duration::from_secs(24 * 60 * 60)));

    assert_eq!(Payment::NAME, "7-payment_method.v2");
    assert_eq!(Payment::DESCRIPTION, "A block comment, with stars.");

    assert_eq!(<Envelope<String>>::NAME, "envelope");
    assert_eq!(<Envelope<OrderPaidId, 2>>::NAME, "envelope");

    assert_eq!(shadowed::Shadowed::VERSION, 2);
    assert_eq!(shadowed::Shadowed::BACKOFF, Backoff::DEFAULT.jitter(0.0));
    assert_eq!(shadowed::Elsewhere::BACKOFF, Backoff::DEFAULT.factor(1.0));
    assert_eq!(shadowed::Elsewhere::MAX_PANICS, 1);
    assert_eq!(shadowed::Elsewhere::TIMEOUT, Some(Duration::from_millis(1)));
    assert_eq!(from_macro::Generated::NAME, "generated");
    assert_eq!(from_macro::Generated::MAX_ATTEMPTS, 4);
    assert_eq!(from_macro::Generated::TIMEOUT, Some(Duration::from_secs(120)));
    assert_eq!(from_macro::Dollar::NAME, "dollar");

    assert_eq!(shadowed::Shadowed { id: 1, r: 2 }.dedupe_key().as_deref(), Some("1-2"));
    assert_eq!(shadowed::Shadowed::RETENTION, Retention::For(Duration::ZERO));
    assert_eq!(from_macro::Keyed { id: 1, other: 2 }.key().as_deref(), Some("2"));
    assert_eq!(from_macro::Keyed { id: 1, other: 2 }.dedupe_key().as_deref(), Some("1"));

    enums_have_keys();
    redacted_fields_are_not_shown();
    missing_backoff_keys_have_their_default();
    a_type_inside_a_function_can_be_a_channel();
}

#[derive(Serialize, Deserialize, Clone)]
struct OrderPaidId(i64);

fn enums_have_keys() {
    use enums::{Adjacently, Externally, Internally, Order, Untagged};
    fn of<C: Channel>(event: &C) -> [Option<String>; 2] {
        [event.key().map(Into::into), event.dedupe_key().map(Into::into)]
    }
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&Externally::Card { id: 1, number: String::new() }), [some("1"), some("1")]);
    assert_eq!(of(&Externally::Cash { id: 2 }), [some("2"), some("2")]);
    assert_eq!(Externally::RETENTION, Retention::Forever);
    assert_eq!(Externally::REDACTED, ["Card.number"]);
    assert_eq!(of(&Internally::Card { r#type: 'a', number: String::new() }), [some("a"), some("a")]);
    assert_eq!(of(&Internally::Cash { r#type: 'b' }), [some("b"), some("b")]);
    assert_eq!(of(&Adjacently::Card(1, String::new())), [some("1"), None]);
    assert_eq!(of(&Adjacently::Cash(Some(2))), [some("2"), None]);
    assert_eq!(of(&Adjacently::Cash(None)), [None, None]);
    assert_eq!(Adjacently::REDACTED, ["Card.1"]);
    let order = |part: Option<&str>| Order { id: (7, 0), part: part.map(str::to_owned) };
    let card = Untagged::Card { order: order(Some("a")), number: String::new() };
    assert_eq!(of(&card), [some("7"), some("7/a")]);
    assert_eq!(of(&Untagged::Cash { order: order(None) }), [some("7"), None]);
    assert_eq!(enums::Never::NAME, "never");
    assert_eq!(of(&Generic(3, Opaque)), [some("3"), some("3")]);
    assert_eq!(of(&WithoutDebug(3, Opaque)), [some("3"), None]);
}

fn redacted_fields_are_not_shown() {
    struct Shown<C>(C);
    impl<C: Channel + std::fmt::Debug> std::fmt::Debug for Shown<C> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.fmt_payload(f)
        }
    }
    let secret = || "secret".to_owned();
    let card = enums::Externally::Card { id: 1, number: secret() };
    assert_eq!(format!("{:?}", Shown(card)), "Card { id: 1, number: <redacted> }");
    assert_eq!(format!("{:?}", Shown(enums::Externally::Cash { id: 1 })), "Cash { id: 1 }");
    let card = enums::Internally::Card { r#type: 'a', number: secret() };
    assert_eq!(format!("{:?}", Shown(card)), "Card { type: 'a', number: <redacted> }");
    let card = enums::Adjacently::Card(1, secret());
    assert_eq!(format!("{:?}", Shown(card)), "Card(1, <redacted>)");
    // A type parameter without the bound `Debug` is not shown.
    assert_eq!(format!("{:?}", Shown(Generic(1, Opaque))), "Generic(_, <redacted>)");
}

/// The derive has copies of these numbers, because it cannot read them from the library.
fn missing_backoff_keys_have_their_default() {
    let default = Backoff::DEFAULT;
    let spelled = Backoff::exponential(Duration::from_secs(1)).factor(2.0).max(Duration::from_secs(15 * 60)).jitter(0.2);
    assert_eq!((default, Sms::MAX_ATTEMPTS), (spelled, 20));
    assert_eq!(Backoff::LONGEST, Duration::from_secs(24 * 60 * 60));

    let only_initial = Backoff::exponential(Duration::from_millis(250));
    assert_eq!(Payment::BACKOFF, only_initial);
    let only_max = default.max(Duration::from_secs(120));
    assert_eq!(<Envelope<u8>>::BACKOFF, only_max);
}

#[deny(warnings)]
fn a_type_inside_a_function_can_be_a_channel() {
    #[derive(Serialize, Deserialize, Channel)]
    #[channel("local", crate = ::pubsub)]
    struct Local;

    assert_eq!(Local::NAME, "local");
}
