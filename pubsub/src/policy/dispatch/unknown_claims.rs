//! Decides when to look for claims whose answers were lost.
//!
//! After a lost answer, the database may have leases under this process's id that the process does not know. One look may come too
//! early: the server may still run the claim, although nobody waits for its answer. So there are several looks. The last one comes
//! after the limit that every session sets for its statements (15 s). Until then, claims name the leases that the process knows.

use std::time::{Duration, Instant};

/// The looks come at 0, 1, 5 and 21 s: each pause is `FACTOR` times the one before it.
const LOOKS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const FACTOR: u32 = 4;

/// The looks for claims whose answers were lost.
#[derive(Debug, Default)]
pub(super) struct UnknownClaims {
    looks_left: u32,
    pause: Duration,
    /// The time of the next look; at once without one.
    look_at: Option<Instant>,
}

impl UnknownClaims {
    /// Returns the looks after an answer was lost.
    pub(super) fn expected() -> Self {
        Self { looks_left: LOOKS, pause: FIRST_PAUSE, look_at: None }
    }

    /// Whether the database may have leases that the process does not know.
    pub(super) fn may_exist(&self) -> bool {
        self.looks_left > 0
    }

    /// Whether to look now.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.looks_left > 0 && self.look_at.is_none_or(|at| at <= now)
    }

    /// Notes that a look has ended.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looks_left = self.looks_left.saturating_sub(1);
        self.look_at = Some(now + self.pause);
        self.pause *= FACTOR;
    }

    /// Returns the time of the next look, if it is known.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.look_at.filter(|_| self.looks_left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_go_on_for_longer_than_a_claim_may_run() {
        let start = Instant::now();
        let mut claims = UnknownClaims::expected();
        let (mut now, mut looks) = (start, Vec::new());
        while claims.are_due(now) {
            looks.push((now - start).as_secs());
            claims.looked(now);
            now = claims.wake_at().unwrap_or(now);
        }
        assert_eq!(looks, [0, 1, 5, 21]);
        assert_eq!(claims.wake_at(), None);
        assert!(!UnknownClaims::default().are_due(now), "no answer was lost");
        assert!(UnknownClaims::expected().may_exist() && !claims.may_exist());
    }
}
