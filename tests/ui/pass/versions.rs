//! Versions, and shapes with lock files.

use pubsub::{Channel, OlderVersion, Shape};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct OrderPaidV1(i64);

#[derive(Deserialize, OlderVersion)]
#[channel("order.paid", version = 2, upcast_from = OrderPaidV1)]
struct OrderPaidV2 {
    id: i64,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", version = 3, upcast_from = self::OrderPaidV2)]
struct OrderPaid {
    id: u64,
}

impl From<OrderPaidV1> for OrderPaidV2 {
    fn from(OrderPaidV1(id): OrderPaidV1) -> Self {
        Self { id }
    }
}

impl From<OrderPaidV2> for OrderPaid {
    fn from(old: OrderPaidV2) -> Self {
        Self { id: old.id.unsigned_abs() }
    }
}

/// No event has version 1.
#[derive(Serialize, Deserialize, Channel)]
#[channel("order.shipped", version = 2, upcast_from = none)]
struct OrderShipped(i64);

/// Compatible with its lock file: the order of fields has changed, and optional fields were added.
#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.order")]
struct Order {
    ship_to: Address,
    #[serde(rename = "note", default)]
    remark: Option<String>,
    voucher: Option<u64>,
    id: i64,
}

#[derive(Serialize, Deserialize, Shape)]
struct Address {
    #[serde(default)]
    city: String,
    street: String,
}

/// A new version without a lock file.
#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.payment", version = 2, upcast_from = none)]
struct Payment;

#[deny(warnings)]
mod in_silence {
    #[derive(serde::Deserialize, pubsub::OlderVersion)]
    #[channel("silent", version = 1)]
    pub struct SilentV1;

    #[derive(serde::Serialize, serde::Deserialize, pubsub::Channel)]
    #[channel("silent", version = 2, upcast_from = SilentV1)]
    pub enum Silent {
        A { b: Box<Silent> },
        C,
    }

    impl From<SilentV1> for Silent {
        fn from(_: SilentV1) -> Self {
            Self::C
        }
    }
}

fn main() {
    assert_eq!((OrderPaid::VERSION, OrderPaidV2::VERSION, OrderPaidV2::NAME), (3, 2, "order.paid"));
    assert_ne!(OrderPaid::FINGERPRINT, OrderShipped::FINGERPRINT);
    assert_ne!(Order::FINGERPRINT, 0);
    let _ = (in_silence::Silent::C, Payment);
}
