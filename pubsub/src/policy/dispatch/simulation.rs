//! A model of the world around the decisions: time, the database, publishers, the handler.
//!
//! It performs the steps as the dispatcher does, with random delays and failures, and records what happens. The properties
//! judge the records.

mod polls;
mod scenario;

use super::Dispatch;
use super::database::{Database, Found};
use super::step::{Query, Reply, Step};
use crate::model::event::{ClaimedEvent, EventId};
use crate::model::outcome::{Answer, Outcome};
use crate::policy::leases::Settlement;
use crate::policy::log_poll::LogPoll;
use polls::PollHappens;
pub(super) use scenario::Scenario;
pub(super) use scenario::settings;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A record of what happened, with its time.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// A query started. `held`: deliveries claimed and not answered. `free`: nothing was held at all.
    Query {
        query: Query,
        held: usize,
        free: bool,
    },
    /// A query ended with these events.
    Reply {
        query: Query,
        found: Found,
    },
    QueryFailed,
    /// The dispatcher was woken.
    Bell,
    /// The process has polled the log. `unread`: it found something.
    Polled {
        unread: bool,
    },
    /// The removal of the waiter row started.
    RemoveWaiter,
    /// Events went to the handler.
    Deliver,
    /// The handler has answered so many deliveries.
    Answers(usize),
    /// A settlement of so many answers started.
    Settle(usize),
    Quarantine,
    Recovery,
    LeaveLanes,
    Drain,
    Stop,
}

#[derive(Debug)]
enum Happening {
    Timer,
    PollInterval,
    Poll(PollHappens),
    PublishBegins { takes: Duration, events: usize },
    PublishEnds { publish: usize },
    SuspectsAppear { crashes: u32, count: usize },
    Scheduler,
    Bell,
    QueryRuns { query: Query, known: Vec<i64>, began: Instant },
    QueryEnds { query: Query, reply: Option<(Reply, Found)>, began: Instant },
    WaiterRemoved { fails: bool },
    SettlementRuns { settlement: Settlement },
    SettlementEnds { settlement: Settlement, accepted: Option<bool> },
    Answer { answers: Vec<Answer>, busy: Duration },
    Quarantine { takes: Duration },
    Recovery,
    Drain,
}

/// The simulated world.
pub(super) struct World {
    start: Instant,
    now: Instant,
    scenario: Scenario,
    dispatch: Dispatch,
    log_poll: LogPoll,
    pub(super) database: Database,
    happenings: BTreeMap<(Instant, u64), Happening>,
    timer: Option<Instant>,
    dice: u64,
    number: u64,
    /// The events that are with the handler's host and have not started.
    queue: VecDeque<ClaimedEvent>,
    running: usize,
    peak: usize,
    pub(super) seen: Vec<(Duration, Seen)>,
}

pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The time that passes in the model between two steps.
const TICK: Duration = Duration::from_micros(1);

impl World {
    pub(super) fn new(scenario: Scenario, start: Instant) -> Self {
        let mut world = Self {
            start,
            now: start,
            dispatch: Dispatch::new(Arc::new(settings(&scenario)), 1),
            log_poll: LogPoll::new(POLL_INTERVAL, start),
            database: Database::new(start, scenario.suspended),
            happenings: BTreeMap::new(),
            timer: None,
            dice: scenario.seed | 1,
            number: 0,
            queue: VecDeque::new(),
            running: 0,
            peak: 0,
            seen: Vec::new(),
            scenario,
        };
        let at = Duration::from_millis;
        for (begins, takes, events) in world.scenario.publishes.clone() {
            world.happens(at(begins), Happening::PublishBegins { takes: at(takes), events });
        }
        for (appear, crashes, count) in world.scenario.suspects.clone() {
            world.happens(at(appear), Happening::SuspectsAppear { crashes, count });
        }
        if let Some(drain_at) = world.scenario.drain_at {
            world.happens(at(drain_at), Happening::Drain);
        }
        if let Some((from, takes)) = world.scenario.quarantine {
            world.happens(at(from), Happening::Quarantine { takes: at(takes) });
        }
        world.happens(POLL_INTERVAL, Happening::PollInterval);
        world.plan_poll();
        world.happens(Duration::ZERO, Happening::Scheduler);
        world
    }

    /// Lets time pass until this instant.
    pub(super) fn run(mut self, until: Duration) -> Self {
        self.perform();
        while let Some(entry) = self.happenings.first_entry() {
            if entry.key().0 > self.start + until {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at.max(self.now + TICK);
            self.happened(happening);
            self.perform();
        }
        self
    }

    fn happens(&mut self, after: Duration, happening: Happening) {
        self.number += 1;
        self.happenings.insert((self.now + after, self.number), happening);
    }

    /// Returns a random number below this one.
    fn roll(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below.max(1)
    }

    fn random(&mut self) -> f64 {
        self.roll(1_000) as f64 / 1_000.0
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(50 + self.roll(3_000))
    }

    fn fails(&mut self) -> bool {
        self.roll(1_000) < self.scenario.failures
    }

    fn see(&mut self, seen: Seen) {
        self.seen.push((self.now - self.start, seen));
    }

    /// Performs the steps that are due.
    fn perform(&mut self) {
        for count in 0.. {
            assert!(count < 10_000, "the steps never end");
            drop(self.dispatch.take_conclusions());
            match self.dispatch.next(self.now) {
                Step::Wait { until } => return self.wait(until),
                Step::Query(query) => self.ask(query),
                Step::RemoveWaiter => {
                    self.see(Seen::RemoveWaiter);
                    let (latency, fails) = (self.latency(), self.fails());
                    self.happens(latency, Happening::WaiterRemoved { fails });
                }
                Step::RenewWaiter => self.renew_waiter(),
                Step::Settle(settlement) => {
                    self.see(Seen::Settle(settlement.size()));
                    let latency = self.latency();
                    self.happens(latency, Happening::SettlementRuns { settlement });
                }
                Step::Deliver(events) => {
                    self.see(Seen::Deliver);
                    self.queue.extend(events);
                    self.start_deliveries();
                }
                Step::Recall => {
                    let returned = |event: ClaimedEvent| answer(&event, Outcome::Returned);
                    let answers: Vec<_> = std::mem::take(&mut self.queue).into_iter().map(returned).collect();
                    self.happens(TICK, Happening::Answer { answers, busy: Duration::ZERO });
                }
                Step::MailboxChanged { after } => self.happens(after, Happening::Scheduler),
                Step::Ping => {
                    self.dispatch.pinged(self.now);
                    self.happens(TICK, Happening::Answer { answers: Vec::new(), busy: Duration::ZERO });
                }
                Step::StopHandler => {
                    assert!(
                        self.queue.is_empty() && self.running == 0,
                        "the handler has work when it is stopped"
                    );
                    self.see(Seen::Stop);
                }
                Step::HandlerResponsive => {}
                Step::LeaveLanes => self.see(Seen::LeaveLanes),
                step => panic!("not in this model: {step:?}"),
            }
        }
    }

    fn wait(&mut self, until: Option<Instant>) {
        if let Some(until) = until.filter(|&until| self.timer.is_none_or(|planned| until < planned)) {
            assert!(until > self.now, "a time that has passed is not waited for");
            self.timer = Some(until);
            self.happens(until - self.now, Happening::Timer);
        }
    }

    fn ask(&mut self, query: Query) {
        let leases = self.dispatch.deliveries.leases();
        let (held, free, known) = (leases.outstanding(), leases.is_empty(), leases.tokens());
        self.see(Seen::Query { query, held, free });
        let (latency, began) = (self.latency(), self.now);
        if self.fails() {
            return self.happens(latency, Happening::QueryEnds { query, reply: None, began });
        }
        if let Query::ClaimIfQuiet { registers: true, .. } | Query::Poll { renews: true, .. } = query {
            self.database.start_waiting(self.now);
        }
        self.happens(latency, Happening::QueryRuns { query, known, began });
    }

    fn start_deliveries(&mut self) {
        while self.running < self.scenario.concurrency
            && let Some(event) = self.queue.pop_front()
        {
            self.running += 1;
            self.peak = self.peak.max(self.running);
            let outcome = match self.roll(20) {
                0 => Outcome::Failed { error: String::new(), after: None },
                1 => Outcome::Snoozed(Duration::from_millis(self.roll(50))),
                _ => Outcome::Done,
            };
            let busy = Duration::from_micros(self.roll(self.scenario.handler_micros));
            self.happens(busy, Happening::Answer { answers: vec![answer(&event, outcome)], busy });
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Timer => self.timer = None,
            Happening::PollInterval => {
                self.dispatch.poll_interval_passed(self.now);
                self.happens(POLL_INTERVAL, Happening::PollInterval);
                self.happens(Duration::ZERO, Happening::Scheduler);
            }
            Happening::Poll(happens) => self.poll_happens(happens),
            Happening::PublishBegins { takes, events } => {
                let publish = self.database.begin_publish(events, self.scenario.silent, self.now);
                self.happens(takes, Happening::PublishEnds { publish });
            }
            Happening::PublishEnds { publish } => {
                if self.database.end_publish(publish, self.now) {
                    let latency = self.latency();
                    self.happens(latency, Happening::Bell);
                }
            }
            Happening::Bell => {
                self.see(Seen::Bell);
                self.dispatch.woken();
            }
            Happening::SuspectsAppear { crashes, count } => {
                self.database.add_suspects(count, crashes, self.now);
                self.happens(Duration::ZERO, Happening::Scheduler);
            }
            Happening::Scheduler => {
                let (ordinary, suspect) = self.database.due(self.now);
                self.dispatch.mailbox_due(ordinary, suspect);
            }
            Happening::Quarantine { takes } => {
                self.see(Seen::Quarantine);
                self.dispatch.handler_quarantined(self.now);
                self.happens(takes, Happening::Recovery);
            }
            Happening::Recovery => {
                self.see(Seen::Recovery);
                self.dispatch.handler_recovered();
            }
            Happening::Drain => {
                self.see(Seen::Drain);
                self.dispatch.drain(self.now);
            }
            Happening::WaiterRemoved { fails } => {
                if !fails {
                    self.database.stop_waiting();
                }
                self.dispatch.waiter_removed();
            }
            Happening::QueryRuns { query, known, began } => self.query_runs(query, &known, began),
            Happening::QueryEnds { query, reply, began } => self.query_ends(query, reply, began),
            Happening::SettlementRuns { settlement } => self.settlement_runs(settlement),
            Happening::SettlementEnds { settlement, accepted } => self.settlement_ends(settlement, accepted),
            Happening::Answer { answers, busy } => {
                self.see(Seen::Answers(answers.len()));
                self.running -= answers.iter().filter(|answer| has_run(answer)).count();
                let random = self.random();
                self.dispatch.responded(answers.len(), busy, self.peak);
                self.dispatch.answered(answers, || random, self.now);
                self.start_deliveries();
            }
        }
    }

    fn query_runs(&mut self, query: Query, known: &[i64], began: Instant) {
        let (before, after) = (self.database.refuses(query) || self.fails(), self.fails());
        let reply = (!before).then(|| self.database.answer(query, known, self.now)).filter(|_| !after);
        let latency = self.latency();
        self.happens(latency, Happening::QueryEnds { query, reply, began });
    }

    fn query_ends(&mut self, query: Query, reply: Option<(Reply, Found)>, began: Instant) {
        let Some((reply, found)) = reply else {
            self.see(Seen::QueryFailed);
            let (refused, random) = (self.database.refuses(query), self.random());
            self.dispatch.query_failed(refused, self.now, random);
            return;
        };
        self.see(Seen::Reply { query, found });
        self.dispatch.completed(reply, self.now - began, self.now);
    }

    fn settlement_runs(&mut self, settlement: Settlement) {
        let (before, after) = (self.fails(), self.fails());
        let accepted = (!before).then(|| self.database.settle(&settlement, self.now)).filter(|_| !after);
        let latency = self.latency();
        self.happens(latency, Happening::SettlementEnds { settlement, accepted });
    }

    fn settlement_ends(&mut self, settlement: Settlement, accepted: Option<bool>) {
        let Some(accepted) = accepted else {
            let random = self.random();
            self.dispatch.settlement_failed(settlement, random < 0.5, self.now, random);
            return;
        };
        self.dispatch.settled(&settlement, accepted, self.now);
    }
}

fn answer(event: &ClaimedEvent, outcome: Outcome) -> Answer {
    Answer { token: event.token, event: EventId(event.id.0), outcome }
}

/// Whether a delivery was started before it was answered.
fn has_run(answer: &Answer) -> bool {
    !matches!(answer.outcome, Outcome::Returned)
}
