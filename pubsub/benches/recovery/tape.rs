//! What the handlers of all processes did, and when: one tape in this process, and lines from the worker's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// By the machine's clock, which all processes share.
pub(crate) type Time = Duration;

pub(crate) fn now() -> Time {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock past 1970")
}

/// Number 0 is the survivor; every worker has one of its own.
pub(crate) type Player = usize;

/// One note of a handler.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) player: Player,
    pub(crate) order: u64,
    pub(crate) at: Time,
    pub(crate) finished: bool,
}

/// All notes, in the order they came in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<Note>>>);

impl Tape {
    pub(crate) fn record(&self, note: Note) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many events a player has finished.
    pub(crate) fn finished(&self, player: Player) -> usize {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().filter(|note| note.finished && note.player == player).count()
    }
}

/// What became of a worker's events that was stopped at some time.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// Begun and not finished: until anybody began it again.
    pub(crate) reruns: Vec<Duration>,
    /// Begun, not finished, and not begun again.
    pub(crate) lost: usize,
    /// Finished, and begun again all the same: how long before the stop it was finished.
    pub(crate) repeats: Vec<Duration>,
}

impl Aftermath {
    /// What the player notes after `until` does not count.
    pub(crate) fn of(notes: &[Note], player: Player, stopped: Time, until: Time) -> Self {
        let mut ended: HashMap<u64, Option<Time>> = HashMap::new();
        for note in notes.iter().filter(|note| note.player == player && note.at <= until) {
            ended.insert(note.order, note.finished.then_some(note.at));
        }
        let mut again: HashMap<u64, Time> = HashMap::new();
        for note in notes.iter().filter(|note| note.player != player && !note.finished && note.at > stopped) {
            let first = again.entry(note.order).or_insert(note.at);
            *first = note.at.min(*first);
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
