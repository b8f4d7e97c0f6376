//! The history of one schedule: the visible effects in the order of the commits, and the invariants over them.
//!
//! The invariants are those of a delivery. No committed event is lost, and each is settled once, under a lease that was not
//! taken over. An uncommitted event is never claimed. Recorded attempts are never fewer than starts, nor more than the
//! limit. Tokens rise. A process that was declared dead learns of it. In an ordered subscription, an event is claimed only
//! after the earlier events of its key have ended or while the same process holds them.

use std::collections::{BTreeMap, BTreeSet};

/// The attempts that the subscription allows.
pub(crate) const MAX_ATTEMPTS: i32 = 6;

/// A claimed batch, as its process knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lease {
    pub(crate) token: i64,
    /// Events with their attempts.
    pub(crate) events: Vec<(i64, i32)>,
}

/// The outcome that a settlement reports for all events of a lease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    /// The same, event by event.
    EachDone,
    /// As a handler does, in its own transaction.
    InTransaction,
    Failed,
    Rejected,
}

/// The effect of a step. It counts once its transaction commits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Nothing,
    /// The step was refused, which is allowed, and its transaction failed.
    Refused,
    Published(i64),
    Claimed {
        process: i64,
        lease: Lease,
        from_log: bool,
    },
    Settled {
        process: i64,
        lease: Lease,
        answer: Answer,
        accepted: bool,
        stale: bool,
    },
    Beaten {
        process: i64,
        alive: bool,
        was_dead: bool,
    },
    /// Processes that were declared dead.
    Reclaimed(Vec<i64>),
    Redriven(i64),
    /// The subscription was moved back. These events were committed before.
    Sought {
        committed: BTreeSet<i64>,
    },
}

/// The description of a broken invariant.
pub(crate) type Violation = String;

#[derive(Default)]
pub(crate) struct History {
    is_ordered: bool,
    committed: BTreeSet<i64>,
    /// Committed claims of each event, since it was published or redriven.
    starts: BTreeMap<i64, i32>,
    newest_token: BTreeMap<i64, i64>,
    done: BTreeMap<i64, u32>,
    /// The deliveries, by token and event, that were settled in transactions of their handlers.
    settled_in: BTreeSet<(i64, i64)>,
    dead_letters: BTreeSet<i64>,
    /// Events that later ones of their key need not wait for: done events and dead letters, redriven or not.
    ended: BTreeSet<i64>,
    dead: BTreeSet<i64>,
    /// The leases that each process holds.
    held: BTreeMap<i64, Vec<Lease>>,
    /// The number of seeks. After the first one, an event may be in flight twice, and be settled once more for each seek.
    seeks: u32,
    /// Events that must be claimed from the log because of a seek.
    owed: BTreeSet<i64>,
}

impl History {
    pub(crate) fn new(is_ordered: bool) -> Self {
        Self { is_ordered, ..Self::default() }
    }

    /// The process's oldest lease.
    pub(crate) fn oldest_lease(&self, process: i64) -> Option<Lease> {
        self.held.get(&process)?.first().cloned()
    }

    /// Whether events of the lease have been claimed again since.
    pub(crate) fn is_stale(&self, lease: &Lease) -> bool {
        self.seeks == 0 && lease.events.iter().any(|(event, _)| self.newest_token[event] > lease.token)
    }

    /// The committed events.
    pub(crate) fn committed(&self) -> &BTreeSet<i64> {
        &self.committed
    }

    /// Whether a process has been declared dead.
    pub(crate) fn is_dead(&self, process: i64) -> bool {
        self.dead.contains(&process)
    }

    pub(crate) fn enter(&mut self, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Nothing | Effect::Refused => Ok(()),
            Effect::Published(event) => {
                self.committed.insert(event);
                Ok(())
            }
            Effect::Claimed { process, lease, from_log } => self.claimed(process, lease, from_log),
            Effect::Settled { process, lease, answer, accepted, stale } => {
                if answer != Answer::InTransaction
                    && let Some(held) = self.held.get_mut(&process)
                {
                    held.retain(|other| other.token != lease.token);
                }
                match (accepted, stale) {
                    (false, _) => Ok(()),
                    (true, true) => Err(format!("the answer under stale token {} was accepted", lease.token)),
                    (true, false) => self.settled(&lease, answer),
                }
            }
            Effect::Beaten { process, alive, was_dead: true } if alive => {
                Err(format!("process {process} was declared dead and does not learn of it"))
            }
            Effect::Beaten { .. } => Ok(()),
            Effect::Reclaimed(processes) => {
                match processes.into_iter().find(|process| !self.dead.insert(*process)) {
                    Some(twice) => Err(format!("process {twice} was declared dead twice")),
                    None => Ok(()),
                }
            }
            Effect::Redriven(count) => self.redriven(count),
            Effect::Sought { committed } => {
                self.seeks += 1;
                self.owed.extend(committed);
                Ok(())
            }
        }
    }

    fn claimed(&mut self, process: i64, lease: Lease, from_log: bool) -> Result<(), Violation> {
        if self.is_ordered {
            self.in_order(process, &lease)?;
        }
        for (event, attempt) in &lease.events {
            if !self.committed.contains(event) {
                return Err(format!("event {event} was claimed but never committed"));
            }
            if from_log {
                self.owed.remove(event);
            }
            let starts = self.starts.entry(*event).or_default();
            *starts += 1;
            if (*attempt < *starts && self.seeks == 0) || *attempt > MAX_ATTEMPTS {
                return Err(format!("start {starts} of event {event} is recorded as attempt {attempt}"));
            }
            let newest = self.newest_token.insert(*event, lease.token).unwrap_or(0);
            if newest >= lease.token {
                return Err(format!("event {event} was claimed under token {} after {newest}", lease.token));
            }
        }
        self.held.entry(process).or_default().push(lease);
        Ok(())
    }

    /// Checks the order. All events of a schedule have one key.
    fn in_order(&self, process: i64, lease: &Lease) -> Result<(), Violation> {
        let held = self.held.get(&process).into_iter().flatten().flat_map(|held| &held.events);
        let mut passed: BTreeSet<i64> = held.map(|(event, _)| *event).collect();
        passed.extend(&self.ended);
        for (event, _) in &lease.events {
            if let Some(earlier) = self.committed.range(..event).find(|earlier| !passed.contains(earlier)) {
                return Err(format!("event {event} was claimed before event {earlier} of its key had ended"));
            }
            passed.insert(*event);
        }
        Ok(())
    }

    fn settled(&mut self, lease: &Lease, answer: Answer) -> Result<(), Violation> {
        for (event, _) in &lease.events {
            match answer {
                // It was settled in a transaction, so it is done, whatever the process says of it.
                _ if self.settled_in.contains(&(lease.token, *event)) => {}
                Answer::Failed => {}
                Answer::Rejected => {
                    self.dead_letters.insert(*event);
                    self.ended.insert(*event);
                }
                Answer::Done | Answer::EachDone | Answer::InTransaction => {
                    if answer == Answer::InTransaction {
                        self.settled_in.insert((lease.token, *event));
                    }
                    let done = self.done.entry(*event).or_default();
                    *done += 1;
                    self.ended.insert(*event);
                    if *done > 1 + self.seeks {
                        return Err(format!("event {event} was settled twice"));
                    }
                }
            }
        }
        Ok(())
    }

    fn redriven(&mut self, count: i64) -> Result<(), Violation> {
        let dead_letters = i64::try_from(self.dead_letters.len()).expect("a few");
        if count > dead_letters {
            return Err(format!("{count} dead letters were redriven, of {dead_letters}"));
        }
        if count == dead_letters {
            for event in std::mem::take(&mut self.dead_letters) {
                self.starts.remove(&event);
            }
        }
        Ok(())
    }

    /// Closes the history after every dead letter was redriven and all remaining events were claimed and settled. A claim
    /// is marked with whether it was from the log.
    pub(crate) fn close(&mut self, swept: Vec<(Lease, bool)>) -> Result<(), Violation> {
        self.redriven(i64::try_from(self.dead_letters.len()).expect("a few"))?;
        for (lease, from_log) in swept {
            self.claimed(0, lease.clone(), from_log)?;
            self.settled(&lease, Answer::Done)?;
        }
        if let Some(lost) = self.committed.iter().find(|event| !self.done.contains_key(event)) {
            return Err(format!("event {lost} is lost"));
        }
        match self.owed.first() {
            Some(passed) => Err(format!("event {passed} was not delivered again")),
            None => Ok(()),
        }
    }
}
