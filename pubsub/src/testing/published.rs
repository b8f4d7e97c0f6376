//! Events that were published: in a transaction that is still open, or in all of a harness's database.

use crate::error::{Error, error_chain};
use crate::model::channel::Channel;
use crate::store::executor::Executor;
use crate::store::test_kit::{self, Seen};
use std::fmt::Write;

/// The most events that a failed assertion shows, and the most bytes of each.
const MOST_SHOWN: usize = 10;
const MOST_BYTES: usize = 300;

/// Returns the events of channel `C` that a transaction has published so far, in the order of their ids, up to 100,000.
///
/// It takes the transaction as [`publish`](crate::publish()) does, of any driver. The role must be allowed to read the log.
/// Through a client without a transaction it finds nothing, because each of its statements is a transaction of its own.
///
/// # Errors
/// If an event is not one that `C` can read, and the database's own errors.
///
/// # Cancel safety
/// Dropping the future has no effect on the transaction.
///
/// # Examples
/// ```no_run
/// use pubsub::testing::published_in;
/// # use pubsub::{Channel, publish};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// # async fn sign_up(transaction: &tokio_postgres::Transaction<'_>, name: &str) -> Result<(), pubsub::Error> { Ok(()) }
/// # async fn test(transaction: tokio_postgres::Transaction<'_>) -> Result<(), pubsub::Error> {
/// sign_up(&transaction, "").await?;
/// assert!(published_in::<Sms>(&transaction).await?.is_empty(), "nobody signed up");
/// # Ok(())
/// # }
/// ```
pub async fn published_in<C: Channel>(executor: impl Executor) -> Result<Vec<C>, Error> {
    Ok(events(test_kit::published_in(executor).await?))
}

pub(super) fn events<C>(seen: Vec<Seen<C>>) -> Vec<C> {
    seen.into_iter().map(|seen| seen.event).collect()
}

/// Asserts that an event was published that matches a pattern: in a transaction of any driver, which need not be committed, or in
/// the database of a [`Harness`](crate::testing::Harness).
///
/// The pattern is that of a `match` arm, with or without `if`. The channel is that of the pattern's type. The macro awaits, so it
/// stands in an async function. If no event matches, it panics and lists those that were published on the channel.
///
/// As with [`published_in`](crate::testing::published_in), a client without a transaction shows nothing.
///
/// ```no_run
/// use pubsub::testing::assert_published;
/// # use pubsub::{Channel, publish};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { receiver: String, msg: String }
/// # async fn sign_up(transaction: &tokio_postgres::Transaction<'_>, name: &str) -> Result<(), pubsub::Error> { Ok(()) }
/// # async fn test(client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let transaction = client.transaction().await?;
/// sign_up(&transaction, "Ada").await?;
/// assert_published!(&transaction, Sms { msg, .. } if msg.starts_with("Welcome"));
/// # Ok(())
/// # } // rolled back
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __assert_published {
    ($published:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        if let ::core::result::Result::Err(message) = $crate::testing::__find(
            $published,
            ::core::stringify!($pattern $(if $guard)?),
            |event| {
                // The pattern may match every event.
                #[allow(unreachable_patterns, clippy::allow_attributes)]
                match event {
                    $pattern $(if $guard)? => true,
                    _ => false,
                }
            },
        )
        .await
        {
            ::core::panic!("{message}");
        }
    };
}

#[doc(inline)]
pub use __assert_published as assert_published;

/// Where [`assert_published!`](crate::testing::assert_published) searches: a transaction, or a
/// [`Harness`](crate::testing::Harness).
///
/// This trait is sealed: only this crate implements it.
pub trait Publications: sealed::Publications {}

pub(super) mod sealed {
    use crate::error::Error;
    use crate::model::channel::Channel;
    use crate::store::test_kit::Seen;

    pub trait Publications {
        /// Completes the sentence "2 events were published ..".
        const PLACE: &'static str;

        /// Follows that sentence if there were none.
        const HINT: &'static str = "";

        fn seen<C: Channel>(self) -> impl Future<Output = Result<Vec<Seen<C>>, Error>>;
    }
}

impl<E: Executor> Publications for E {}

impl<E: Executor> sealed::Publications for E {
    const PLACE: &'static str = "in this transaction";
    const HINT: &'static str = " (only the transaction itself shows what it has published)";

    async fn seen<C: Channel>(self) -> Result<Vec<Seen<C>>, Error> {
        test_kit::published_in(self).await
    }
}

/// Searches for an event that matches, for the macro. The error is a sentence.
#[doc(hidden)]
pub async fn find<C: Channel, P: Publications>(
    published: P,
    pattern: &str,
    matches: impl Fn(&C) -> bool,
) -> Result<(), String> {
    let seen = published.seen::<C>().await.map_err(|error| error_chain(&error))?;
    if seen.iter().any(|seen| matches(&seen.event)) {
        return Ok(());
    }
    Err(complaint(pattern, P::PLACE, P::HINT, &seen))
}

fn complaint<C: Channel>(pattern: &str, place: &str, hint: &str, seen: &[Seen<C>]) -> String {
    let channel = C::NAME;
    let count = match seen.len() {
        0 => "no event was".to_owned(),
        1 => "1 event was".to_owned(),
        many => format!("{many} events were"),
    };
    let mut text = format!("no event matches `{pattern}`: {count} published on channel `{channel}` {place}");
    if seen.is_empty() {
        text.push_str(hint);
    } else if !C::REDACTED.is_empty() {
        text.push_str("; they are not shown, because they have redacted fields");
        return text;
    }
    for Seen { json, .. } in seen.iter().take(MOST_SHOWN) {
        let end = json.floor_char_boundary(MOST_BYTES);
        let more = if end < json.len() { ".." } else { "" };
        // Writing to a text cannot fail.
        write!(text, "\n  {}{more}", &json[..end]).unwrap_or_default();
    }
    if seen.len() > MOST_SHOWN {
        text.push_str("\n  ..");
    }
    text
}
