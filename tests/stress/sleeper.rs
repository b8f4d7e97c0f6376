//! A subscriber that goes to sleep, and detects that it slept too long.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tokio_postgres::{Client, Notification, Statement};

use crate::claimers::{CLAIM, claim};
use crate::database::{Database, Result};

const BELL: &str = "pubsub";
/// Notifications arrive in the order of their commits: when our own arrives, every earlier one has arrived.
const PROBE: &str = "stress_probe";

/// A protocol for going to sleep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    /// Writes the waiter row, then polls until nobody is publishing.
    Exact,
    /// Writes the waiter row, then polls once. This is broken: a publisher at this moment has not seen the row, and commits
    /// later.
    SinglePoll,
    /// As `Exact`, but still marked as awake. This is broken: nobody rings.
    MarkedAwake,
}

/// The result of a poll after the waiter row.
#[derive(Debug, PartialEq)]
pub(crate) enum Poll {
    /// There are events, so it does not sleep.
    Found,
    /// There is nothing, but somebody is publishing: poll again.
    Publishing,
    /// There is nothing, and publishers will ring from now on.
    Quiet,
}

/// The end of a sleep.
#[derive(Debug, PartialEq)]
pub(crate) enum Waking {
    /// By the bell.
    Rung,
    /// By the time limit, and there was nothing to do.
    Idle,
    /// By the time limit, though there were committed events for which nobody rang.
    Lost,
}

pub(crate) struct Sleeper {
    client: Client,
    statement: Statement,
    // Kept open, so that its notifications arrive.
    _listener: Client,
    notifications: UnboundedReceiver<Notification>,
    protocol: Protocol,
    channel: String,
    subscription: i32,
    process: i64,
}

impl Sleeper {
    /// Subscribes to a declared channel.
    pub(crate) async fn new(
        database: &Database,
        protocol: Protocol,
        channel: &str,
        name: &str,
    ) -> Result<Self> {
        let client = database.connect().await?;
        let subscription =
            client.query_one("select pubsub.subscribe($1, $2)", &[&channel, &name]).await?.get(0);
        let process = client
            .query_one("select pubsub.register_process('localhost', 1, 'test')", &[])
            .await?
            .get::<_, i64>(0);
        let own_bell = format!("{BELL}_{process}");
        let (listener, notifications) = database.listen(&[BELL, &own_bell, PROBE]).await?;
        let statement = client.prepare(CLAIM).await?;
        Ok(Self {
            client,
            statement,
            _listener: listener,
            notifications,
            protocol,
            channel: channel.to_owned(),
            subscription,
            process,
        })
    }

    /// Claims once. Returns whether there was an event.
    pub(crate) async fn claim(&self) -> Result<bool> {
        let claimed = claim(&self.client, &self.statement, self.subscription, self.process, 500).await?;
        Ok(claimed.is_some())
    }

    pub(crate) async fn start_waiting(&self) -> Result<()> {
        let start = "select pubsub.start_waiting($1, $2, '1 minute')";
        self.client.execute(start, &[&self.subscription, &self.process]).await?;
        if self.protocol == Protocol::MarkedAwake {
            let awake = "insert into pubsub.waiters values ($1, $2, true, clock_timestamp() + '1 minute')";
            self.client.execute(awake, &[&self.subscription, &self.process]).await?;
        }
        Ok(())
    }

    pub(crate) async fn report_awake(&self) -> Result<()> {
        let awake = "select pubsub.report_awake($1, $2, '1 minute')";
        self.client.execute(awake, &[&self.subscription, &self.process]).await?;
        Ok(())
    }

    pub(crate) async fn poll(&mut self) -> Result<Poll> {
        // Discarded before the claim, not after it: a later bell may be about events that the claim does not find.
        while self.notifications.try_recv().is_ok() {}
        let quiet = match self.protocol {
            Protocol::Exact | Protocol::MarkedAwake => self
                .client
                .query_one("select pubsub.no_publisher_at_work($1)", &[&self.subscription])
                .await?
                .get(0),
            Protocol::SinglePoll => true,
        };
        Ok(match (self.claim().await?, quiet) {
            (true, _) => Poll::Found,
            (false, false) => Poll::Publishing,
            (false, true) => Poll::Quiet,
        })
    }

    /// Sleeps until the bell rings, or until the time limit.
    pub(crate) async fn sleep(&mut self, limit: Duration) -> Result<Waking> {
        match timeout(limit, self.bell_before(None)).await {
            Ok(bell) => bell.map(|_| Waking::Rung),
            Err(_) if self.claim().await? => {
                Ok(if self.has_rung().await? { Waking::Rung } else { Waking::Lost })
            }
            Err(_) => Ok(Waking::Idle),
        }
    }

    pub(crate) async fn stop_waiting(&self) -> Result<()> {
        self.client
            .execute("select pubsub.stop_waiting($1, $2)", &[&self.subscription, &self.process])
            .await?;
        Ok(())
    }

    /// Whether the bell has rung up to now. The answer is exact and does not depend on a time limit.
    async fn has_rung(&mut self) -> Result<bool> {
        let own = self.subscription.to_string();
        self.client.execute("select pg_notify($1, $2)", &[&PROBE, &own]).await?;
        self.bell_before(Some(&own)).await
    }

    /// Waits for the bell of our channel (true) or for this probe (false).
    async fn bell_before(&mut self, probe: Option<&str>) -> Result<bool> {
        while let Some(notification) = self.notifications.recv().await {
            match notification.channel() {
                PROBE if Some(notification.payload()) == probe => return Ok(false),
                PROBE => {}
                _ if notification.payload() == self.channel => return Ok(true),
                _ => {}
            }
        }
        Err("the listening connection ended".into())
    }
}
