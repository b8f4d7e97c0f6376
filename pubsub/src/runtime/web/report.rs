//! The answer of `/ready`: each check, and whether all of them pass. Pure: the facts and the limits are arguments.

use crate::observe::{HandlerState, HandlerStatus};
use crate::runtime::checkup::Answer;
use crate::store::retention;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// The facts and the limits that a report is made from.
pub(super) struct Facts {
    pub(super) schema: Answer<()>,
    /// The subscriptions with unread events, of all processes.
    pub(super) unread: Answer<Arc<[retention::Unread]>>,
    /// The time since the last beat, if there was one.
    pub(super) silent_for: Option<Duration>,
    pub(super) silence_limit: Duration,
    pub(super) is_listening: bool,
    /// The subscriptions of this process.
    pub(super) handlers: Vec<HandlerStatus>,
    pub(super) oldest_unread: Duration,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) ready: bool,
    schema: Check,
    heartbeat: Beat,
    listener: Check,
    quarantine: Quarantine,
    unread: Unread,
}

#[derive(Debug, Serialize)]
struct Check {
    ok: bool,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Beat {
    ok: bool,
    /// `None`: there was none.
    age_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Quarantine {
    ok: bool,
    /// The subscriptions whose handlers wait.
    subscriptions: Vec<Named>,
}

#[derive(Debug, Serialize)]
struct Unread {
    #[serde(flatten)]
    check: Check,
    /// The subscriptions with unread events.
    subscriptions: Vec<UnreadFor>,
}

#[derive(Debug, Serialize)]
struct Named {
    channel: String,
    subscription: String,
}

#[derive(Debug, Serialize)]
struct UnreadFor {
    #[serde(flatten)]
    named: Named,
    unread_for_ms: u64,
}

impl Report {
    pub(super) fn new(facts: Facts) -> Self {
        let Facts { schema, unread, silent_for, silence_limit, is_listening, handlers, oldest_unread } =
            facts;
        let schema = Check { ok: schema.is_ok(), error: schema.err() };
        let heartbeat = Beat {
            ok: silent_for.is_some_and(|silence| silence < silence_limit),
            age_ms: silent_for.map(milliseconds),
        };
        let listener = Check { ok: is_listening, error: None };
        let (unread, error) =
            unread.map_or_else(|error| (Vec::new(), Some(error)), |found| (found.to_vec(), None));
        let is_ours = |unread: &retention::Unread| {
            handlers.iter().any(|ours| ours.is_of(&unread.channel, &unread.subscription))
        };
        let unread: Vec<_> = unread.into_iter().filter(is_ours).collect();
        let is_late = unread.iter().any(|unread| unread.unread_for > oldest_unread);
        let unread = Unread {
            check: Check { ok: error.is_none() && !is_late, error },
            subscriptions: unread.into_iter().map(UnreadFor::from).collect(),
        };
        let quarantined: Vec<_> = handlers
            .into_iter()
            .filter(|handler| handler.state == HandlerState::Quarantined)
            .map(|HandlerStatus { channel, subscription, .. }| Named { channel, subscription })
            .collect();
        let quarantine = Quarantine { ok: quarantined.is_empty(), subscriptions: quarantined };
        let ready = schema.ok && heartbeat.ok && listener.ok && quarantine.ok && unread.check.ok;
        Self { ready, schema, heartbeat, listener, quarantine, unread }
    }
}

impl From<retention::Unread> for UnreadFor {
    fn from(unread: retention::Unread) -> Self {
        let named = Named { channel: unread.channel, subscription: unread.subscription };
        Self { named, unread_for_ms: milliseconds(unread.unread_for) }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
