//! One session, which takes steps one at a time on a connection of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pubsub_tests::connect;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row, Statement};

use crate::history::{Answer, Effect, History, Lease, Violation};
use crate::scenario::{Process, Step};

/// A silence limit that no process of a schedule reaches by itself, and that is shorter than the server's uptime at the
/// first one.
pub(crate) const SILENCE: &str = "1 hour";

/// The SQLSTATEs for a process that was declared dead, for a lease that was lost, and for the rest of a transaction.
const REFUSALS: [&str; 3] = ["PB006", "PB010", "25P02"];

/// A channel with one subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: &'static str,
    pub(crate) subscription: i32,
}

/// The subscription and the processes of a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Participants {
    pub(crate) subscription: Subscription,
    /// The ids of [`Process::One`] and [`Process::Two`].
    pub(crate) processes: [i64; 2],
}

impl Participants {
    fn id(&self, process: Process) -> i64 {
        self.processes[process as usize]
    }
}

pub(crate) struct Session {
    pub(crate) pid: i32,
    connection: Arc<Connection>,
    /// The effects of the open transaction, if there is one.
    pending: Option<Vec<Effect>>,
    running: Option<Running>,
}

/// The number of a step among all finished steps, and its effect.
type Ended = (u64, Result<Effect, Violation>);

/// The number of finished steps of all interleavers.
static ENDED: AtomicU64 = AtomicU64::new(0);

/// A running step.
struct Running {
    step: Step,
    task: JoinHandle<Ended>,
    ended: Option<Ended>,
    /// Whether it waited for a lock at the last check.
    waits: bool,
}

impl Session {
    pub(crate) async fn new(url: &str) -> Self {
        let client = connect(url).await;
        client.batch_execute(SETTINGS).await.expect("the session's settings");
        let pid = client.query_one("select pg_backend_pid()", &[]).await.expect("its pid").get(0);
        Self { pid, connection: Arc::new(Connection::new(client).await), pending: None, running: None }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether a step is running.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.ended.is_none())
    }

    /// Whether the last step waits for a lock, or did.
    pub(crate) fn waits(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.waits)
    }

    pub(crate) fn is_waiting(&mut self) {
        if let Some(running) = &mut self.running {
            running.waits = true;
        }
    }

    /// Starts a step. [`Session::take_ended`] returns its effects.
    pub(crate) fn begin(&mut self, step: Step, participants: &Participants, history: &History) {
        let (opens, inner) = match step {
            Step::Open(inner) => (true, *inner),
            step => (false, step),
        };
        let call = Call::new(inner, participants, history);
        let connection = Arc::clone(&self.connection);
        let task = tokio::spawn(async move {
            let effect = connection.run(opens, call).await;
            (ENDED.fetch_add(1, Ordering::Relaxed), effect)
        });
        self.running = Some(Running { step, task, ended: None, waits: false });
    }

    /// Waits for the end of the running step.
    pub(crate) async fn end(&mut self) {
        if let Some(running) = &mut self.running
            && running.ended.is_none()
        {
            running.ended = Some((&mut running.task).await.expect("a step does not panic"));
        }
    }

    /// Whether a finished step was not taken yet.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_running() && !self.is_busy()
    }

    /// Takes the last step if it has finished: its number among all finished steps, and the effects that are now visible.
    pub(crate) fn take_ended(&mut self) -> Option<(u64, Result<Vec<Effect>, Violation>)> {
        if !self.has_ended() {
            return None;
        }
        let Running { step, ended, .. } = self.running.take()?;
        let (nth, effect) = ended?;
        let effects = effect.map(|effect| self.visible(step, effect));
        Some((nth, effects.map_err(|violation| format!("{step:?}: {violation}"))))
    }

    fn visible(&mut self, step: Step, effect: Effect) -> Vec<Effect> {
        match (step, self.pending.take()) {
            (Step::Open(_), _) => {
                self.pending = Some(vec![effect]);
                Vec::new()
            }
            // The commit of a transaction with a refused step is a rollback. It may be refused itself.
            (Step::Commit, Some(pending))
                if effect != Effect::Refused && !pending.contains(&Effect::Refused) =>
            {
                pending
            }
            (Step::Commit | Step::Rollback, _) => Vec::new(),
            (_, Some(mut pending)) => {
                pending.push(effect);
                self.pending = Some(pending);
                Vec::new()
            }
            (_, None) => vec![effect],
        }
    }
}

/// A lost commit does not matter here.
const SETTINGS: &str =
    "set synchronous_commit = off; set deadlock_timeout = '20ms'; set statement_timeout = '30s'";

/// A step with its arguments at the time when it starts.
enum Call {
    Plain(&'static str),
    Nothing,
    Publish { channel: &'static str },
    Claim { how: usize, subscription: i32, process: i64 },
    Settle { process: i64, lease: Lease, answer: Answer, stale: bool },
    Beat { process: i64, was_dead: bool },
    Silence { process: i64 },
    Reclaim,
    Strays,
    Redrive { channel: &'static str },
    Seek { channel: &'static str, committed: BTreeSet<i64> },
    Leave { process: i64 },
}

impl Call {
    fn new(step: Step, participants: &Participants, history: &History) -> Self {
        let Subscription { channel, subscription } = participants.subscription;
        let claim = |how, process| Self::Claim { how, subscription, process: participants.id(process) };
        let settle = |process, answer| match history.oldest_lease(participants.id(process)) {
            Some(lease) => Self::Settle {
                process: participants.id(process),
                stale: history.is_stale(&lease),
                lease,
                answer,
            },
            None => Self::Nothing,
        };
        match step {
            Step::Open(_) => unreachable!("a transaction is not opened within another"),
            Step::Commit => Self::Plain("commit"),
            Step::Rollback => Self::Plain("rollback"),
            Step::Publish => Self::Publish { channel },
            Step::Claim(process) => claim(FROM_LOG, process),
            Step::ClaimMailbox(process) => claim(FROM_MAILBOX, process),
            Step::ClaimSuspect(process) => claim(OF_SUSPECTS, process),
            Step::Settle(process) => settle(process, Answer::Done),
            Step::SettleNamed(process) => settle(process, Answer::EachDone),
            Step::SettleIn(process) => settle(process, Answer::InTransaction),
            Step::Retry(process) => settle(process, Answer::Failed),
            Step::Reject(process) => settle(process, Answer::Rejected),
            Step::Beat(process) => {
                let process = participants.id(process);
                Self::Beat { process, was_dead: history.is_dead(process) }
            }
            Step::Silence(process) => Self::Silence { process: participants.id(process) },
            Step::Reclaim => Self::Reclaim,
            Step::Strays => Self::Strays,
            Step::Redrive => Self::Redrive { channel },
            Step::Seek => Self::Seek { channel, committed: history.committed().clone() },
            Step::Leave(process) => Self::Leave { process: participants.id(process) },
        }
    }
}

/// A client and its prepared statements.
struct Connection {
    client: Client,
    publish: Statement,
    claims: [Statement; 3],
    settle: Statement,
    settle_in: Statement,
    beat: Statement,
    silence: Statement,
    reclaim: Statement,
    strays: Statement,
    redrive: Statement,
    seek: Statement,
    leave: Statement,
}

/// The indices of the prepared claims.
const FROM_LOG: usize = 0;
const FROM_MAILBOX: usize = 1;
const OF_SUSPECTS: usize = 2;

/// All events have one key, which belongs to the lane that moves when a second process joins.
const PUBLISH: &str = "select pubsub.publish($1, '{}', key => 'alice')";

/// Settles a lease whose events all have the outcome `$4`.
const SETTLE: &str = "
    select pubsub.settle(
               $1,
               $2,
               case when $4 = 'each done' then $3::bigint[] end,
               case when $4 not in ('done', 'each done') then (
                   select jsonb_agg(jsonb_build_object('id', id, 'action', $4::text)) from unnest($3) id
               ) end
           )";

impl Connection {
    async fn new(client: Client) -> Self {
        let prepare =
            async |sql: &str| client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let claims = [
            prepare("select token, id, 1 from pubsub.claim($1, $2, 10)").await,
            prepare("select token, id, attempt from pubsub.claim_mailbox($1, $2, 10)").await,
            prepare("select token, id, attempt from pubsub.claim_mailbox($1, $2, 10, suspect => true)").await,
        ];
        let silence = "update pubsub.processes set beat_at = 'epoch' where id = $1";
        Self {
            claims,
            publish: prepare(PUBLISH).await,
            settle: prepare(SETTLE).await,
            settle_in: prepare("select pubsub.settle_in($1, $2, id) from unnest($3::bigint[]) id").await,
            beat: prepare("select pubsub.beat($1, false)").await,
            silence: prepare(silence).await,
            reclaim: prepare(&format!("select process from pubsub.reclaim('{SILENCE}')")).await,
            strays: prepare("select pubsub.reclaim_strays()").await,
            redrive: prepare("select pubsub.redrive($1, 'one')").await,
            seek: prepare("select pubsub.seek($1, 'one', event => $2)").await,
            leave: prepare("select pubsub.leave($1)").await,
            client,
        }
    }

    async fn run(&self, opens: bool, call: Call) -> Result<Effect, Violation> {
        let begin = async {
            if opens {
                self.client.batch_execute("begin").await?;
            }
            Ok(())
        };
        // Sent together, with `begin` first.
        let (started, made) = tokio::join!(begin, self.make(call));
        let error: tokio_postgres::Error = match started.and(made) {
            Ok(effect) => return Ok(effect),
            Err(error) => error,
        };
        // The server reports an error before it releases the transaction's locks, and answers the next statement after
        // that.
        self.client.batch_execute("").await.map_err(|error| error.to_string())?;
        match error.as_db_error() {
            Some(refused) if REFUSALS.contains(&refused.code().code()) => Ok(Effect::Refused),
            Some(refused) => Err(format!("{} {}", refused.code().code(), refused.message())),
            None => Err(error.to_string()),
        }
    }

    async fn make(&self, call: Call) -> Result<Effect, tokio_postgres::Error> {
        let client = &self.client;
        Ok(match call {
            Call::Nothing => Effect::Nothing,
            Call::Plain(sql) => client.batch_execute(sql).await.map(|()| Effect::Nothing)?,
            Call::Publish { channel } => {
                Effect::Published(client.query_one(&self.publish, &[&channel]).await?.get(0))
            }
            Call::Claim { how, subscription, process } => {
                let rows = client.query(&self.claims[how], &[&subscription, &process]).await?;
                let from_log = how == FROM_LOG;
                lease(&rows).map_or(Effect::Nothing, |lease| Effect::Claimed { process, lease, from_log })
            }
            Call::Settle { process, lease, answer, stale } => {
                let events: Vec<i64> = lease.events.iter().map(|(event, _)| *event).collect();
                let action = match answer {
                    Answer::InTransaction => {
                        client.query(&self.settle_in, &[&process, &lease.token, &events]).await?;
                        return Ok(Effect::Settled { process, lease, answer, stale, accepted: true });
                    }
                    Answer::Done => "done",
                    Answer::EachDone => "each done",
                    Answer::Failed => "retry",
                    Answer::Rejected => "reject",
                };
                let row = client.query_one(&self.settle, &[&process, &lease.token, &events, &action]).await?;
                Effect::Settled { process, lease, answer, stale, accepted: row.get(0) }
            }
            Call::Beat { process, was_dead } => {
                let alive = client.query_one(&self.beat, &[&process]).await?.get(0);
                Effect::Beaten { process, alive, was_dead }
            }
            Call::Silence { process } => {
                client.execute(&self.silence, &[&process]).await.map(|_| Effect::Nothing)?
            }
            Call::Reclaim => {
                let rows = client.query(&self.reclaim, &[]).await?;
                Effect::Reclaimed(rows.iter().map(|row| row.get(0)).collect())
            }
            Call::Strays => client.query(&self.strays, &[]).await.map(|_| Effect::Nothing)?,
            Call::Redrive { channel } => {
                Effect::Redriven(client.query_one(&self.redrive, &[&channel]).await?.get(0))
            }
            Call::Seek { channel, committed } => {
                let first = committed.first().copied().unwrap_or(i64::MAX);
                client.query(&self.seek, &[&channel, &first]).await.map(|_| Effect::Sought { committed })?
            }
            Call::Leave { process } => {
                client.query(&self.leave, &[&process]).await.map(|_| Effect::Nothing)?
            }
        })
    }
}

/// The batch of a claim. `None` if it is empty.
fn lease(rows: &[Row]) -> Option<Lease> {
    let token = rows.first()?.get(0);
    Some(Lease { token, events: rows.iter().map(|row| (row.get(1), row.get(2))).collect() })
}
