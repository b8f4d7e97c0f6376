//! Decides when a fault that lasts is reported again: once a minute, with the number of its repetitions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The time between two reports of one fault.
const EVERY: Duration = Duration::from_secs(60);

/// The most faults that are told apart. Beyond it, the oldest are forgotten.
const MOST: usize = 1_000;

/// The faults that were reported.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    reported_at: Instant,
    repeated: u64,
}

impl Faults {
    /// Notes that a fault happened at `now`. Returns whether to report it: how often it has happened unreported since its last
    /// report.
    pub(crate) fn note(&mut self, fault: String, now: Instant) -> Option<u64> {
        let is_due = |seen: &Seen| now.saturating_duration_since(seen.reported_at) >= EVERY;
        let repeated = match self.seen.get_mut(&fault) {
            Some(seen) if !is_due(seen) => {
                seen.repeated += 1;
                return None;
            }
            Some(seen) => seen.repeated,
            None => 0,
        };
        if self.seen.len() >= MOST {
            self.seen.retain(|_, seen| !is_due(seen));
            if self.seen.len() >= MOST {
                self.seen.clear();
            }
        }
        self.seen.insert(fault, Seen { reported_at: now, repeated: 0 });
        Some(repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_reported_once_a_minute_with_its_repetitions() {
        let (mut faults, start) = (Faults::default(), Instant::now());
        let mut note =
            |fault: &str, after: u64| faults.note(fault.to_owned(), start + Duration::from_secs(after));
        assert_eq!(note("down", 0), Some(0));
        assert_eq!([1, 2, 59].map(|after| note("down", after)), [None; 3]);
        assert_eq!(note("another", 59), Some(0));
        assert_eq!(note("down", 60), Some(3));
        assert_eq!(note("down", 61), None);
        assert_eq!(note("down", 200), Some(1));
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        for n in 0..10 * MOST {
            assert_eq!(faults.note(n.to_string(), now), Some(0));
            assert!(faults.seen.len() <= MOST);
        }
    }
}
