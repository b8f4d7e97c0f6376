//! Decides when a process without a database session is dead.
//!
//! A fault that keeps all processes from the database makes none of them dead. So an absence counts only while the observer
//! itself reaches the database: while its checks come in time, and its own beats are recorded.

use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a process may be without a session if the database answers at once: enough to notice the loss, to connect and to
/// beat again.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The number of answers of the database that a process needs until it beats from another session: to connect, to agree on
/// encryption, to log in, to recognize the server, and to beat. One is to spare.
const ANSWERS: u32 = 10;

/// The number of delays of this machine that are allowed for while a process returns.
const DELAYS: u32 = 2;

/// The number of beats whose times decide the grace.
const REMEMBERED: usize = 8;

/// An observer that waits longer than this for the answer to a check is in trouble itself.
const SLOW: Duration = Duration::from_secs(1);

/// The shortest pause between two checks for processes without a session: while there is one, or while there are few
/// processes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// The number of checks per second of all processes together. All processes check all others, and one that notices is enough.
const CHECKS_PER_SECOND: f64 = 20.0;

/// The pause of a process that is alone. Another one that has just come and dies at once is noticed a little later.
const PAUSE_ALONE: Duration = Duration::from_millis(500);

/// The longest pause between two checks of one process.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Returns how long one of `processes` waits until its next check. `grace_left` is the shortest rest of the grace of an absent
/// process, if there is one: the next check is not later than the end of that grace. `jitter`, from 0 to 1, keeps the checks
/// of the processes apart.
pub(crate) fn next_check(processes: i64, grace_left: Option<Duration>, jitter: f64) -> Duration {
    if let Some(left) = grace_left {
        // A process whose grace is over is being declared dead at this moment, here or elsewhere.
        return if left.is_zero() { SHORTEST_PAUSE } else { left.min(SHORTEST_PAUSE) };
    }
    if processes < 2 {
        return PAUSE_ALONE;
    }
    let share = processes as f64 / CHECKS_PER_SECOND;
    Duration::from_secs_f64(share * (0.75 + jitter / 2.0)).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// The times that the last beats of this process took.
#[derive(Debug, Default)]
pub(crate) struct Rhythm {
    took: VecDeque<Duration>,
}

impl Rhythm {
    /// Notes that a beat took this long, from the time for which it was planned to its answer.
    pub(crate) fn observe(&mut self, took: Duration) {
        if self.took.len() == REMEMBERED {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    /// Returns the grace that this process needs: the longer, the farther the database is and the busier this machine is. It
    /// is at most half of the silence limit, unless that is very short.
    pub(crate) fn grace(&self, silence_limit: Duration) -> Duration {
        let shortest = self.took.iter().min().copied().unwrap_or_default();
        let longest = self.took.iter().max().copied().unwrap_or_default();
        let needed = GRACE
            .saturating_add(ANSWERS * shortest.min(silence_limit))
            .saturating_add(DELAYS * longest.min(silence_limit));
        needed.min((silence_limit / 2).max(GRACE))
    }
}

/// A process that is seen without a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Absence {
    pub(crate) process: i64,
    /// How long it may be without a session before it is dead.
    pub(crate) grace: Duration,
    /// The time of its last heartbeat, by the database's clock.
    pub(crate) last_beat: Timestamp,
}

/// The processes without a session, and since when each was seen without one.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    seen: HashMap<i64, Seen>,
    checked_at: Option<Instant>,
    /// Whether the observer has had trouble, and no beat of its own was recorded since.
    in_trouble: bool,
}

/// The absence of a process, and since when it lasts.
#[derive(Debug)]
struct Seen {
    absence: Absence,
    since: Instant,
}

impl Seen {
    /// Returns the rest of its grace; zero if it is over.
    fn grace_left(&self, now: Instant) -> Duration {
        self.absence.grace.saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl Absences {
    /// Notes the processes that are without a session at `now`, and returns those that have been without one for longer than
    /// their grace. Those that have come back meanwhile are forgotten, also those that have gone again since then. `took` is the
    /// duration of the check.
    pub(crate) fn dead(&mut self, absent: &[Absence], took: Duration, now: Instant) -> Vec<i64> {
        if took > SLOW {
            self.observer_in_trouble();
        }
        let last = self.checked_at.replace(now).unwrap_or(now);
        if self.in_trouble {
            return Vec::new();
        }
        // A check that comes late shows nothing about the time before it.
        let late = now.saturating_duration_since(last).saturating_sub(2 * SHORTEST_PAUSE);
        let before = std::mem::take(&mut self.seen);
        let since = |absence: &Absence| {
            let seen =
                before.get(&absence.process).filter(|seen| seen.absence.last_beat == absence.last_beat);
            seen.map_or(now, |seen| seen.since + late)
        };
        self.seen = absent
            .iter()
            .map(|&absence| (absence.process, Seen { absence, since: since(&absence) }))
            .collect();
        let dead = |(_, seen): &(&i64, &Seen)| seen.grace_left(now).is_zero();
        self.seen.iter().filter(dead).map(|(&process, _)| process).collect()
    }

    /// Notes that the observer does not reach the database. The absences that it has seen so far do not count.
    pub(crate) fn observer_in_trouble(&mut self) {
        self.in_trouble = true;
        self.seen.clear();
    }

    /// Notes that a beat of the observer was recorded.
    pub(crate) fn observer_has_beaten(&mut self) {
        self.in_trouble = false;
    }

    /// Returns the rest of the grace that ends first; zero if it is over.
    pub(crate) fn grace_left(&self, now: Instant) -> Option<Duration> {
        self.seen.values().map(|seen| seen.grace_left(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT_ONCE: Duration = Duration::from_millis(1);
    const ABSENT: [Absence; 1] = [Absence { process: 7, grace: GRACE, last_beat: Timestamp::UNIX_EPOCH }];

    /// Checks every [`SHORTEST_PAUSE`] from `now` on, and returns the time after which process 7 is dead.
    fn dead_after(absences: &mut Absences, began: Instant) -> Duration {
        let mut now = began;
        while absences.dead(&ABSENT, AT_ONCE, now).is_empty() {
            now += SHORTEST_PAUSE;
        }
        now - began
    }

    #[test]
    fn a_process_that_stays_away_is_dead_after_the_grace() {
        assert_eq!(dead_after(&mut Absences::default(), Instant::now()), SHORTEST_PAUSE * 3);
    }

    #[test]
    fn many_processes_share_the_checks_and_an_absence_makes_more() {
        assert_eq!(next_check(1, None, 0.5), PAUSE_ALONE);
        assert_eq!(next_check(2, None, 0.5), SHORTEST_PAUSE);
        assert_eq!(next_check(1, Some(GRACE), 0.5), SHORTEST_PAUSE);
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
            if !absences.dead(&ABSENT, AT_ONCE, now).is_empty() {
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
        absences.dead(&ABSENT, AT_ONCE, now);
        absences.dead(&ABSENT, AT_ONCE, now + SHORTEST_PAUSE);
        absences.dead(&[], AT_ONCE, now + SHORTEST_PAUSE * 2);
        let again = now + SHORTEST_PAUSE * 3;
        assert_eq!(dead_after(&mut absences, again), SHORTEST_PAUSE * 3);
    }

    #[test]
    fn a_process_that_has_beaten_between_two_checks_starts_again() {
        let (began, mut absences) = (Instant::now(), Absences::default());
        for check in 0..50 {
            let last_beat = Timestamp::from_second(i64::from(check / 2)).expect("a time");
            let absent = Absence { last_beat, ..ABSENT[0] };
            assert_eq!(absences.dead(&[absent], AT_ONCE, began + SHORTEST_PAUSE * check), [0; 0]);
        }
    }

    #[test]
    fn the_grace_follows_the_round_trip_and_has_a_bound() {
        let limit = Duration::from_secs(6);
        let grace = |millis: &[u64]| {
            let mut rhythm = Rhythm::default();
            millis.iter().for_each(|&took| rhythm.observe(Duration::from_millis(took)));
            rhythm.grace(limit)
        };
        assert_eq!(grace(&[]), GRACE);
        assert_eq!(grace(&[0, 1, 0]), GRACE + Duration::from_millis(2));
        assert_eq!(grace(&[1, 100, 1]), GRACE + Duration::from_millis(210), "one late beat");
        assert_eq!(grace(&[160, 170]), GRACE + Duration::from_millis(1_940));
        assert_eq!(grace(&[5_000]), limit / 2);
        assert_eq!(grace(&[5_000, 1, 1, 1, 1, 1, 1, 1, 1]), GRACE + Duration::from_millis(12));
        assert_eq!(Rhythm::default().grace(Duration::from_millis(20)), GRACE);
    }

    proptest! {
        /// However late the checks come, and whenever the observer is in trouble: nobody is dead who was not absent at checks
        /// that came in time for the length of the grace, since the observer's last trouble.
        #[test]
        fn only_time_that_the_observer_was_well_counts(
            checks in proptest::collection::vec((0u64..3_000, 0u64..1_500, 0u8..8), 1..60),
        ) {
            let mut now = Instant::now();
            let mut absences = Absences::default();
            let mut seen = Duration::ZERO;
            let (mut in_trouble, mut first) = (false, true);
            for (pause, took, event) in checks {
                let (pause, took) = (Duration::from_millis(pause), Duration::from_millis(took));
                match event {
                    0 => { absences.observer_in_trouble(); in_trouble = true; }
                    1 | 2 => { absences.observer_has_beaten(); in_trouble = false; }
                    _ => {}
                }
                if event == 0 { (seen, first) = (Duration::ZERO, true); }
                now += pause;
                let dead = absences.dead(&ABSENT, took, now);
                in_trouble |= took > SLOW;
                if in_trouble {
                    (seen, first) = (Duration::ZERO, true);
                } else if std::mem::take(&mut first) {
                    seen = Duration::ZERO;
                } else {
                    seen += pause.min(2 * SHORTEST_PAUSE);
                }
                prop_assert_eq!(!dead.is_empty(), !in_trouble && seen >= GRACE);
            }
        }
    }
}
