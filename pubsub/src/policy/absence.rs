//! Decides when a process whose session is gone is dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a process may be without a session: time to notice, to connect and to beat again.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// Who is without a session, and since when we know.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    since: HashMap<i64, Instant>,
}

impl Absences {
    /// Takes note of the processes that are without a session at `now`, and returns those that have been for longer than
    /// [`GRACE`]. Whoever came back in between is forgotten.
    pub(crate) fn dead(&mut self, absent: &[i64], now: Instant) -> Vec<i64> {
        self.since.retain(|process, _| absent.contains(process));
        for &process in absent {
            self.since.entry(process).or_insert(now);
        }
        let dead = |(_, since): &(&i64, &Instant)| now.saturating_duration_since(**since) >= GRACE;
        self.since.iter().filter(dead).map(|(&process, _)| process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_stays_away_is_dead_after_the_grace() {
        let now = Instant::now();
        let mut absences = Absences::default();
        assert!(absences.dead(&[7], now).is_empty());
        assert!(absences.dead(&[7], now + GRACE / 2).is_empty());
        assert_eq!(absences.dead(&[7], now + GRACE), [7]);
    }

    #[test]
    fn a_process_that_comes_back_begins_anew() {
        let now = Instant::now();
        let mut absences = Absences::default();
        absences.dead(&[7], now);
        absences.dead(&[], now + GRACE / 2);
        assert!(absences.dead(&[7], now + GRACE).is_empty());
        assert_eq!(absences.dead(&[7], now + GRACE * 2), [7]);
    }
}
