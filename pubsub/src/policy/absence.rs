//! Decides when a process without a database session is dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a process may be without a session: enough to notice the loss, to connect and to beat again.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The shortest pause between two checks for processes without a session: while there is one, or while there are few
/// processes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// The number of checks per second of all processes together. All processes check all others, and one that notices is enough.
const CHECKS_PER_SECOND: f64 = 20.0;

/// The longest pause between two checks of one process.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Returns how long one of `processes` waits until its next check. `grace_left` is the rest of the grace of the process that has
/// been absent for longest, if one is absent: the next check is not later than its end. `jitter`, from 0 to 1, keeps the
/// processes apart.
pub(crate) fn next_check(processes: i64, grace_left: Option<Duration>, jitter: f64) -> Duration {
    if let Some(left) = grace_left {
        // A process whose grace is over is taken over from at this moment, here or elsewhere.
        return if left.is_zero() { SHORTEST_PAUSE } else { left.min(SHORTEST_PAUSE) };
    }
    let share = processes.max(1) as f64 / CHECKS_PER_SECOND;
    Duration::from_secs_f64(share * (0.75 + jitter / 2.0)).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// The processes without a session, and since when that is known.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    since: HashMap<i64, Instant>,
}

impl Absences {
    /// Notes the processes that are without a session at `now`, and returns those that have been for [`GRACE`]. Processes that
    /// have come back in between are forgotten.
    pub(crate) fn dead(&mut self, absent: &[i64], now: Instant) -> Vec<i64> {
        self.since.retain(|process, _| absent.contains(process));
        for &process in absent {
            self.since.entry(process).or_insert(now);
        }
        let dead = |(_, since): &(&i64, &Instant)| now.saturating_duration_since(**since) >= GRACE;
        self.since.iter().filter(dead).map(|(&process, _)| process).collect()
    }

    /// Returns the rest of the grace of the process that has been absent for longest; zero if its grace is over.
    pub(crate) fn grace_left(&self, now: Instant) -> Option<Duration> {
        self.since.values().min().map(|&since| GRACE.saturating_sub(now.saturating_duration_since(since)))
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
    fn many_processes_share_the_checks_and_an_absence_makes_more() {
        assert_eq!(next_check(3, None, 0.5), SHORTEST_PAUSE);
        assert_eq!(next_check(40, None, 0.5), Duration::from_secs(2));
        assert_eq!(next_check(1_000_000, None, 1.0), LONGEST_PAUSE);
        assert_eq!(next_check(40, Some(GRACE), 0.5), SHORTEST_PAUSE);
    }

    #[test]
    fn a_death_is_judged_when_the_grace_ends() {
        let mut now = Instant::now();
        let (seen, mut absences) = (now, Absences::default());
        assert_eq!(absences.grace_left(now), None);
        // Each check takes a while, and its answer comes after it.
        for checks in 1.. {
            now += Duration::from_millis(3);
            if !absences.dead(&[7], now).is_empty() {
                break;
            }
            now += next_check(2, absences.grace_left(now), 0.5);
            assert!(checks < 5, "too many checks");
        }
        let late = now - seen - GRACE;
        assert!(late < Duration::from_millis(10), "{late:?} too late");
        assert_eq!(
            next_check(2, absences.grace_left(now), 0.5),
            SHORTEST_PAUSE,
            "it is taken over from only once"
        );
    }

    #[test]
    fn a_process_that_comes_back_starts_again() {
        let now = Instant::now();
        let mut absences = Absences::default();
        absences.dead(&[7], now);
        absences.dead(&[], now + GRACE / 2);
        assert!(absences.dead(&[7], now + GRACE).is_empty());
        assert_eq!(absences.dead(&[7], now + GRACE * 2), [7]);
    }
}
