//! Runs schedules one after the other in a database of tsuccessor own.

use std::time::Duration;

use futures_util::future::select_all;
use pubsub_tests::TestDatabase;

use crate::history::{History, Lease, MAX_ATTEMPTS, Violation};
use crate::scenario::{Scenario, Step};
use crate::schedule::{Schedule, letters};
use crate::session::{Participants, SILENCE, Session, Subscription};

/// A step that takes longer than this may be waiting for another one, so the server is asked.
const PATIENCE: Duration = Duration::from_millis(1);

/// Declares all processes dead, claims and settles all that is left, and describes the rows that remain then. It is a
/// procedure, because every claim is a transaction of its own.
const SWEEP: &str = "
create procedure public.sweep(
    channel       text,
    subscription  integer,
    everybody     bigint[],
    inout tokens  bigint[] default '{}',
    inout events  bigint[] default '{}',
    inout attempt integer[] default '{}',
    inout log     boolean[] default '{}',
    inout left_behind text default ''
)
language plpgsql
as $$
declare
    -- Rounds of claims that find something: more than any schedule leaves.
    limit_of_rounds constant integer := 20;
    successor    bigint;
    claimed record;
    in_log  boolean;
    was_empty boolean := false;
begin
    update pubsub.processes set beat_at = 'epoch' where id = any (everybody);
    perform pubsub.reclaim('SILENCE');
    perform pubsub.reclaim_strays();
    perform pubsub.redrive(channel, 'one');
    successor := pubsub.register_process('successor', 0, 'test');
    commit;
    for round in 1 .. limit_of_rounds loop
        select array_agg(c.token) as tokens, array_agg(c.id) as events, array_agg(c.attempt) as attempt
          into claimed
          from (select token, id, 1 as attempt from pubsub.claim(subscription, successor, 10)) c;
        commit;
        in_log := claimed.tokens is not null;
        if not in_log then
            select array_agg(c.token) as tokens, array_agg(c.id) as events, array_agg(c.attempt) as attempt
              into claimed
              from pubsub.claim_mailbox(subscription, successor, 10, suspect => round % 2 = 0) c;
        end if;
        if claimed.tokens is null then
            -- It may have been given lanes, and claimed nothing yet.
            commit;
            -- Neither suspects nor others, then.
            exit when was_empty;
            was_empty := true;
            continue;
        end if;
        was_empty := false;
        if not pubsub.settle(successor, claimed.tokens[1]) then
            left_behind := left_behind || ' a lease that its holder cannot settle;';
        end if;
        tokens := tokens || claimed.tokens;
        events := events || claimed.events;
        attempt := attempt || claimed.attempt;
        log := log || array_fill(in_log, array[cardinality(claimed.tokens)]);
        commit;
    end loop;
    perform pubsub.leave(successor);
    select left_behind || coalesce(string_agg(format(' %s in %s;', n, what), ''), '')
      into left_behind
      from (
          select 'leases', count(*) from pubsub.leases
          union all
          select 'mailbox', count(*) from pubsub.mailbox
          union all
          select 'dead_letters', count(*) from pubsub.dead_letters
          union all
          select 'processes', count(*) from pubsub.processes p where p.host <> 'witness'
          union all
          select 'waiters', count(*) from pubsub.waiters
      ) t (what, n)
     where n > 0;
end
$$";

/// Registers the processes of the next schedule. The witness of their silence beats.
const REGISTER: &str = "
    with witness as (update pubsub.processes set beat_at = clock_timestamp() where host = 'witness')
    select pubsub.register_process('one', 1, 'test'), pubsub.register_process('two', 2, 'test')";

/// A process that has always beaten: silence counts only beside one.
const WITNESS: &str = "
    with witness as (
        insert into pubsub.processes (host, os_pid, version, resumed_at) values ('witness', 0, 'test', '-infinity') returning id
    )
    insert into pubsub.registrations select id from witness";

/// The number of schedules between two cleanups, because the small tables are read in full, dead rows included.
const CLEAN_UP_EVERY: usize = 100;
const CLEAN_UP: &str =
    "vacuum pubsub.processes, pubsub.leases, pubsub.mailbox, pubsub.dead_letters, pubsub.cursors,
    pubsub.subscriptions, pubsub.lanes, pubsub.runners";

pub(crate) struct Interleaver {
    database: TestDatabase,
    played: usize,
    sessions: Vec<Session>,
    plain: Subscription,
    ordered: Subscription,
    pids: Vec<i32>,
}

impl Interleaver {
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::new().await;
        let sweep = SWEEP.replace("SILENCE", SILENCE);
        database
            .client
            .batch_execute(&format!(
                "set synchronous_commit = off; {sweep}; {WITNESS};
                 select pubsub.declare_channel('sms'), pubsub.declare_channel('payments')"
            ))
            .await
            .expect("the interleaver's database");
        let subscription = async |channel, lanes| {
            let subscribe = "select pubsub.subscribe($1, 'one', $2, lanes => $3)";
            let row = database.client.query_one(subscribe, &[&channel, &MAX_ATTEMPTS, &lanes]).await;
            Subscription { channel, subscription: row.expect("a subscription").get(0) }
        };
        let [plain, ordered] = [subscription("sms", 0).await, subscription("payments", 2).await];
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(Session::new(database.url()).await);
        }
        let pids = sessions.iter().map(|session| session.pid).collect();
        Self { database, played: 0, sessions, plain, ordered, pids }
    }

    /// The connection with which a function is broken.
    pub(crate) fn admin(&self) -> &tokio_postgres::Client {
        &self.database.client
    }

    /// Runs one schedule of a scenario.
    pub(crate) async fn play(&mut self, scenario: &Scenario, schedule: &Schedule) -> Result<(), Violation> {
        self.played += 1;
        if self.played.is_multiple_of(CLEAN_UP_EVERY) {
            self.database.client.batch_execute(CLEAN_UP).await.map_err(|error| error.to_string())?;
        }
        self.play_and_sweep(scenario, schedule)
            .await
            .map_err(|violation| format!("{}, {}: {violation}", scenario.name, letters(schedule)))
    }

    async fn play_and_sweep(&mut self, scenario: &Scenario, schedule: &Schedule) -> Result<(), Violation> {
        let participants =
            self.database.client.query_one(REGISTER, &[]).await.map_err(|error| error.to_string())?;
        let subscription = if scenario.is_ordered { self.ordered } else { self.plain };
        let participants =
            Participants { subscription, processes: [participants.get(0), participants.get(1)] };
        let mut play =
            Play { participants, history: History::new(scenario.is_ordered), due: Default::default() };
        for step in scenario.prologue {
            play.due[0].push(*step);
            self.advance(&mut play).await?;
        }
        let mut scripts = scenario.sessions.map(<[Step]>::iter);
        for turn in schedule {
            let session = usize::from(*turn);
            play.due[session].extend(scripts[session].next());
            self.advance(&mut play).await?;
        }
        if self.sessions.iter().any(Session::is_running) {
            return Err("sessions wait for each other forever".to_owned());
        }
        let swept = self.sweep(&play.participants).await?;
        play.history.close(swept)
    }

    /// Takes every due step, one at a time, until no session has one, or those that have one wait for locks of others.
    async fn advance(&mut self, play: &mut Play) -> Result<(), Violation> {
        loop {
            self.take_ended(play)?;
            if !self.is_at_rest().await? {
                continue;
            }
            let mut ready = self.sessions.iter_mut().zip(&mut play.due);
            let Some((session, due)) = ready.find(|(session, due)| !session.is_running() && !due.is_empty())
            else {
                return Ok(());
            };
            session.begin(due.remove(0), &play.participants, &play.history);
        }
    }

    /// Whether every running step waits for another session. Only then it is known which steps precede the next one.
    async fn is_at_rest(&mut self) -> Result<bool, Violation> {
        let has_ended = self.sessions.iter().any(Session::has_ended);
        let busy = self.sessions.iter_mut().filter(|session| session.is_busy());
        let ends: Vec<_> = busy.map(|session| Box::pin(session.end())).collect();
        if ends.is_empty() {
            return Ok(!has_ended);
        }
        let in_time = tokio::time::timeout(PATIENCE, select_all(ends)).await.is_ok();
        Ok(!in_time && self.all_wait().await? && !has_ended)
    }

    /// Records the finished steps in the order of the commits: a step that waited for a lock comes after the holder of the
    /// lock, and others come in the order in which they finished.
    fn take_ended(&mut self, play: &mut Play) -> Result<(), Violation> {
        for waited in [false, true] {
            let ended = self.sessions.iter_mut().filter(|session| session.waits() == waited);
            let mut ended: Vec<_> = ended.filter_map(Session::take_ended).collect();
            ended.sort_by_key(|(nth, _)| *nth);
            for (_, effects) in ended {
                for effect in effects? {
                    play.history.enter(effect)?;
                }
            }
            if self.sessions.iter().any(|session| session.is_busy() && !session.waits()) {
                break;
            }
        }
        Ok(())
    }

    /// Whether every running step waits for a lock of another of our sessions.
    async fn all_wait(&mut self) -> Result<bool, Violation> {
        let busy: Vec<i32> =
            self.sessions.iter().filter(|session| session.is_busy()).map(|session| session.pid).collect();
        let waiting = "select bool_and(pg_blocking_pids(pid) && $2) from unnest($1::integer[]) pid";
        let waiting = self.database.client.query_one(waiting, &[&busy, &self.pids]).await;
        let all_wait = waiting.map_err(|error| error.to_string())?.get(0);
        if all_wait {
            self.sessions.iter_mut().for_each(Session::is_waiting);
        }
        Ok(all_wait)
    }

    async fn sweep(&self, participants: &Participants) -> Result<Vec<(Lease, bool)>, Violation> {
        let processes = participants.processes.to_vec();
        let row = self
            .database
            .client
            .query_one(
                "call public.sweep($1, $2, $3)",
                &[&participants.subscription.channel, &participants.subscription.subscription, &processes],
            )
            .await
            .map_err(|error| format!("the sweep: {error:?}"))?;
        let (tokens, events): (Vec<i64>, Vec<i64>) = (row.get(0), row.get(1));
        let (attempts, from_log): (Vec<i32>, Vec<bool>) = (row.get(2), row.get(3));
        let left: String = row.get(4);
        if !left.is_empty() {
            return Err(format!("left behind:{left}"));
        }
        let events = events.into_iter().zip(attempts);
        let leases =
            tokens.into_iter().zip(events).map(|(token, event)| Lease { token, events: vec![event] });
        Ok(leases.zip(from_log).collect())
    }
}

/// One schedule, as far as it was run.
struct Play {
    participants: Participants,
    history: History,
    /// The due steps of each session.
    due: [Vec<Step>; 3],
}
