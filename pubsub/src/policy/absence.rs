//! Decides when a process whose session is gone is dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a process may be without a session: time to notice, to connect and to beat again.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// Between two looks for processes without a session while one is, or while there are few processes.
const SHORTEST_LOOK: Duration = Duration::from_millis(200);

/// All processes look for each other, and one that sees is enough: so many looks per second all together.
const LOOKS_PER_SECOND: f64 = 20.0;

const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// When a process looks again, one of so many; `jitter` from 0 to 1 keeps them apart.
pub(crate) fn next_look(processes: i64, somebody_is_absent: bool, jitter: f64) -> Duration {
    if somebody_is_absent {
        return SHORTEST_LOOK;
    }
    let share = processes.max(1) as f64 / LOOKS_PER_SECOND;
    Duration::from_secs_f64(share * (0.75 + jitter / 2.0)).clamp(SHORTEST_LOOK, LONGEST_LOOK)
}

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
    fn many_processes_share_the_looks_and_whoever_sees_an_absence_looks_often() {
        assert_eq!(next_look(3, false, 0.5), SHORTEST_LOOK);
        assert_eq!(next_look(40, false, 0.5), Duration::from_secs(2));
        assert_eq!(next_look(1_000_000, false, 1.0), LONGEST_LOOK);
        assert_eq!(next_look(40, true, 0.5), SHORTEST_LOOK);
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
