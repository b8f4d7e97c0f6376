//! Records of the handlers in all processes. The worker sends its own as lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A time by the machine's clock, which all processes share.
pub(crate) type Time = Duration;

pub(crate) fn now() -> Time {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock past 1970")
}

/// The number of a process. Every worker has another.
pub(crate) type ProcessNumber = usize;

/// The survivor's number.
pub(crate) const SURVIVOR: ProcessNumber = 0;

/// The start or the end of an event's handling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) process: ProcessNumber,
    pub(crate) order: u64,
    pub(crate) at: Time,
    pub(crate) finished: bool,
}

/// All records, in the order of their arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<Record>>>);

impl Records {
    pub(crate) fn add(&self, record: Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of events that a process has finished.
    pub(crate) fn finished(&self, process: ProcessNumber) -> usize {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().filter(|record| record.finished && record.process == process).count()
    }
}

/// The fate of a worker's events after it was stopped.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// For each event that was started and not finished: the time until it was started again.
    pub(crate) reruns: Vec<Duration>,
    /// The number of events that were started, not finished, and not started again.
    pub(crate) lost: usize,
    /// For each event that was finished and started again: how long before the stop it was finished.
    pub(crate) repeats: Vec<Duration>,
}

impl Aftermath {
    /// Reads the records. Those of the process itself after `until` do not count.
    pub(crate) fn of(records: &[Record], process: ProcessNumber, stopped: Time, until: Time) -> Self {
        let mut ended: HashMap<u64, Option<Time>> = HashMap::new();
        for record in records.iter().filter(|record| record.process == process && record.at <= until) {
            ended.insert(record.order, record.finished.then_some(record.at));
        }
        let mut again: HashMap<u64, Time> = HashMap::new();
        for record in records
            .iter()
            .filter(|record| record.process != process && !record.finished && record.at > stopped)
        {
            let first = again.entry(record.order).or_insert(record.at);
            *first = record.at.min(*first);
        }
        let mut aftermath = Self::default();
        for (order, finished) in ended {
            match (finished, again.get(&order)) {
                (None, Some(&at)) => aftermath.reruns.push(at - stopped),
                (None, None) => aftermath.lost += 1,
                (Some(finished), Some(_)) => aftermath.repeats.push(stopped.saturating_sub(finished)),
                (Some(_), None) => {}
            }
        }
        aftermath
    }
}
