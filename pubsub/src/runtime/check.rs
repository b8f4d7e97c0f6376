//! Refuses settings with values that are not allowed. Only this module and the derive do this.

use super::setup::{Setup, SubscriptionSetup};
use crate::config::{Config, MAX_LANES};
use crate::error::Error;
use crate::model::limits::{self, Refused, Shown};
use crate::model::retention::Retention;
use crate::model::settings::{SubscriptionSettings, TimeLimit};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The bounds of the poll interval. Polls only cover lost notifications, so the longest interval limits nothing else.
const POLL_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(1)..=DAY;

/// The bounds of the heartbeat's interval.
const HEARTBEAT_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;

/// The longest silence limit, age of a report, and limit of unread events: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The most connections of a runtime.
const MAX_CONNECTIONS: usize = 10_000;

/// The most deliveries that a handler works on at once.
const MAX_CONCURRENCY: usize = 100_000;

impl Setup {
    /// Refuses values that are not allowed. The error names the first one.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_config(&self.config).map_err(|refused| invalid("the runtime", refused))?;
        for (channel, declaration) in &self.declarations {
            let at = |refused| invalid(format!("channel `{channel}`"), refused);
            limits::count("version", declaration.version.into()).map_err(at)?;
            check_retention(declaration.retention).map_err(at)?;
        }
        for (channel, retention) in &self.retentions {
            check_retention(*retention)
                .map_err(|refused| invalid(format!("channel `{channel}`"), refused))?;
        }
        check_names(&self.subscriptions)?;
        self.subscriptions.iter().try_for_each(|subscription| check_subscription(&subscription.settings))
    }
}

fn invalid(place: impl Into<String>, refused: Refused) -> Error {
    let Refused { setting, value, allowed } = refused;
    Error::InvalidSetting { place: place.into(), setting, value, allowed }
}

fn check_config(config: &Config) -> Result<(), Refused> {
    let Config { poll_interval, heartbeat_interval, silence_limit, .. } = *config;
    within("poll_interval", poll_interval, &POLL_INTERVAL)?;
    within("heartbeat_interval", heartbeat_interval, &HEARTBEAT_INTERVAL)?;
    if silence_limit < 2 * heartbeat_interval {
        let allowed =
            format!("at least twice the heartbeat's interval, which is {}", Shown(heartbeat_interval));
        return Err(Refused::new("silence_limit", Shown(silence_limit), allowed));
    }
    at_most_longest("silence_limit", silence_limit)?;
    at_most_longest("report_unread_after", config.report_unread_after)?;
    at_most_longest("report_transactions_after", config.report_transactions_after)?;
    count("connections", config.connections, MAX_CONNECTIONS)
}

fn check_retention(retention: Retention) -> Result<(), Refused> {
    match retention {
        Retention::For(retention) => limits::retention(retention),
        Retention::Default | Retention::Forever => Ok(()),
    }
}

fn check_subscription(settings: &SubscriptionSettings) -> Result<(), Error> {
    let place = format!("subscription `{}` of channel `{}`", settings.name, settings.channel);
    let checked = check_limits(settings).map_err(|refused| invalid(place.clone(), refused));
    checked
        .and(settings.backoff.check().map_err(|refused| invalid(format!("the backoff of {place}"), refused)))
}

fn check_limits(settings: &SubscriptionSettings) -> Result<(), Refused> {
    limits::count("max_attempts", settings.max_attempts.into())?;
    limits::count("max_panics", settings.max_panics.into())?;
    limits::count("max_crashes", settings.max_crashes.into())?;
    settings.timeout.map_or(Ok(()), limits::timeout)?;
    count("concurrency", settings.concurrency, MAX_CONCURRENCY)?;
    if let Some(lanes) = settings.lanes {
        count("lanes", lanes as usize, MAX_LANES as usize)?;
    }
    settings.dead_letter_retention.map_or(Ok(()), |limit| at_most_longest("dead_letter_retention", limit))?;
    match settings.unread_limit {
        TimeLimit::After(limit) => at_most_longest("unread_limit", limit),
        TimeLimit::Unset | TimeLimit::Unlimited => Ok(()),
    }
}

fn check_names(subscriptions: &[SubscriptionSetup]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for SubscriptionSetup { settings, .. } in subscriptions {
        let SubscriptionSettings { channel, name, .. } = settings;
        let well_formed = (1..=63).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c));
        if !well_formed {
            return Err(Error::InvalidSubscriptionName { name: name.to_string() });
        }
        if !seen.insert((channel, name)) {
            return Err(Error::DuplicateSubscription { channel, name: name.to_string() });
        }
    }
    Ok(())
}

fn within(setting: &'static str, value: Duration, range: &RangeInclusive<Duration>) -> Result<(), Refused> {
    if range.contains(&value) {
        return Ok(());
    }
    let allowed = format!("from {} to {}", Shown(*range.start()), Shown(*range.end()));
    Err(Refused::new(setting, Shown(value), allowed))
}

fn at_most_longest(setting: &'static str, value: Duration) -> Result<(), Refused> {
    let refused = || Refused::new(setting, Shown(value), format!("at most {}", Shown(LONGEST)));
    if value <= LONGEST { Ok(()) } else { Err(refused()) }
}

fn count(setting: &'static str, value: usize, most: usize) -> Result<(), Refused> {
    let refused = || Refused::new(setting, value, format!("a whole number from 1 to {most}"));
    if (1..=most).contains(&value) { Ok(()) } else { Err(refused()) }
}
