//! Arbitrary input is refused with an error, and never with a panic: payloads, and the URL of a database.

use proptest::prelude::*;
use proptest::sample::select;
use pubsub::{Channel, OlderVersion, PubSub};
use pubsub_tests::DEADLINE;
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

#[derive(Debug, Deserialize)]
struct ParcelV1(u8);

#[derive(Debug, Deserialize, OlderVersion)]
#[channel("arbitrary.parcel", version = 2, upcast_from = ParcelV1)]
struct ParcelV2 {
    weight: u8,
}

#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("arbitrary.parcel", version = 3, upcast_from = ParcelV2)]
struct Parcel {
    weight: u16,
    to: Option<String>,
}

impl From<ParcelV1> for ParcelV2 {
    fn from(ParcelV1(weight): ParcelV1) -> Self {
        Self { weight }
    }
}

impl From<ParcelV2> for Parcel {
    fn from(ParcelV2 { weight }: ParcelV2) -> Self {
        Self { weight: weight.into(), to: None }
    }
}

/// Bytes, text, JSON, and JSON that is nearly a parcel.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof!["-?[0-9]{1,30}", "[0-9]{1,3}(\\.[0-9]{1,3})?(e[0-9]{1,4})?"];
    let parcel = number.prop_map(|number| format!("{{\"weight\": {number}, \"to\": null}}"));
    let nested = (1_usize..400).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth));
    let text = prop_oneof![
        parcel,
        nested,
        "[0-9]{1,4}",
        "[\\[\\]{}\",:0-9a-z\\\\ -]{0,20}",
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        ".*",
    ];
    prop_oneof![text.prop_map(String::into_bytes), any::<Vec<u8>>()]
}

proptest! {
    #[test]
    fn any_payload_of_any_version_is_read_or_refused(version in prop_oneof![0_u32..6, any::<u32>()], payload in payloads()) {
        let read = Parcel::decode(version, &payload);
        let is_readable = match version {
            0 => false,
            1 => serde_json::from_slice::<u8>(&payload).is_ok(),
            2 => serde_json::from_slice::<ParcelV2>(&payload).is_ok(),
            _ => serde_json::from_slice::<Parcel>(&payload).is_ok(),
        };
        prop_assert_eq!(read.is_ok(), is_readable);
    }
}

/// The secret of every URL below.
const PASSWORD: &str = "hunter2";

const HOSTS: [&str; 13] = [
    "127.0.0.1:1",
    "localhost:1",
    "[::1]:1",
    "127.0.0.1:1,127.0.0.1:1",
    "127.0.0.1:1,",
    "%2Fnowhere:1",
    "",
    "127.0.0.1:x",
    "127.0.0.1:0",
    "127.0.0.1:99999",
    ":1",
    "%ff:1",
    "[::1",
];

const PARAMETERS: [&str; 20] = [
    "",
    "?",
    "?sslmode=require",
    "?connect_timeout=99999999999999999",
    "?host=/nowhere",
    "?password=hunter2",
    "?password=a&hunter2=b",
    "?pass%77ord=hunter2",
    "?password=hunter2&host=127.0.0.1&port=1",
    "?hostaddr=127.0.0.1",
    "?hostaddr=x",
    "?keepalives_idle=18446744073709551615",
    "?keepalives_retries=99999999999",
    "?options=%00",
    "?load_balance_hosts=random",
    "?application_name=%00",
    "?connect_timeout=-1",
    "?channel_binding=require",
    "?tcp_user_timeout=9223372036854775807",
    "?keepalives_interval=0",
];

const WORDS: [&str; 19] = [
    "host=127.0.0.1",
    "host=/nowhere",
    "host=''",
    "port=1",
    "port=",
    "user=ada",
    "dbname='a b'",
    "password=hunter2",
    "password='hunter2",
    "password = 'hun\\'hunter2'",
    "passwd=hunter2",
    "=",
    "connect_timeout=1",
    "hostaddr=127.0.0.1",
    "hostaddr=127.0.0.1,127.0.0.1",
    "sslmode=disable",
    "port=1,1",
    "user='\\",
    "options='-c a=b'",
];

/// Strings that are URLs, connection strings, or nearly one of the two. A host that exists is this one, at a port where nobody
/// listens.
fn urls() -> impl Strategy<Value = String> {
    let host = select(&HOSTS[..]);
    let parameter = select(&PARAMETERS[..]);
    let scheme = select(vec!["postgres://", "postgresql://", "mysql://", "POSTGRES://", ""]);
    let odd = || "[a-z0-9:/%&#+ ]{0,3}";
    let url = (scheme, odd(), odd(), odd(), host, select(vec!["/app", "", "/", "/%00", "/%"]), parameter)
        .prop_map(|(scheme, user, before, after, host, name, parameter)| {
            format!("{scheme}{user}:{before}{PASSWORD}{after}@{host}{name}{parameter}")
        });
    let word = select(&WORDS[..]);
    let words = prop::collection::vec(word, 0..7).prop_map(|words| words.join(" "));
    let shuffled =
        (words.clone(), any::<prop::sample::Index>(), any::<char>()).prop_map(|(mut words, at, letter)| {
            let at = words.floor_char_boundary(at.index(words.len() + 1));
            words.insert(at, letter);
            words
        });
    prop_oneof![url, words, shuffled, any::<String>()]
}

/// Whether connecting is refused at once: a string that is read as another host is left alone.
fn is_refused_at_once(url: &str) -> bool {
    let Ok(config) = url.parse::<Config>() else { return true };
    let is_here = |host: &Host| match host {
        Host::Tcp(name) => ["127.0.0.1", "localhost", "::1", ""].contains(&name.as_str()),
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_here)
        && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
        && config.get_ports().iter().all(|port| *port < 2)
        && (!config.get_ports().is_empty()
            || config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))))
}

/// All that an error shows.
fn texts(error: &pubsub::Error) -> String {
    let mut texts = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        texts += &format!(" {error} {error:?}");
        cause = error.source();
    }
    texts
}

proptest! {
    #[test]
    fn any_url_is_refused_in_time_without_its_password(url in urls()) {
        let builder = PubSub::builder(&url);
        let shown = format!("{builder:?} {builder:#?}");
        prop_assert!(!shown.contains(PASSWORD), "{}", shown);
        prop_assume!(is_refused_at_once(&url));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, pubsub::migrate(&url)).await.expect("an answer").expect_err("nobody listens")
        });
        prop_assert!(!texts(&refused).contains(PASSWORD), "{:?}", refused);
    }
}
