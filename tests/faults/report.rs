//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The recovery times of a run, by kind of fault.
#[derive(Debug, Default)]
pub(crate) struct Report {
    kinds: BTreeMap<&'static str, Vec<Duration>>,
    pub(crate) faults: usize,
}

impl Report {
    /// Adds a fault that came alone, and the time from its end until the system had recovered.
    pub(crate) fn add(&mut self, kind: &'static str, recovery: Duration) {
        self.kinds.entry(kind).or_default().push(recovery);
    }
}

/// Describes the times from the acknowledgement of events to their first start.
pub(crate) fn describe_delays(subscription: &str, mut delays: Vec<Duration>) -> String {
    if delays.is_empty() {
        return format!("{subscription}: nothing was handled");
    }
    delays.sort_unstable();
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| quantile(&delays, share));
    format!(
        "{subscription}: first started {half:.3} s (p50), {most:.2} s (p99), {all:.2} s (most) after their acknowledgement"
    )
}

/// The time that this share of the faults stayed below.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1].as_secs_f64()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| kind of fault | faults | p50 | p99 |\n|---|---|---|---|")?;
        for (kind, times) in &self.kinds {
            let mut times = times.clone();
            times.sort_unstable();
            let (half, most) = (quantile(&times, 0.5), quantile(&times, 0.99));
            writeln!(f, "| {kind} | {} | {half:.2} s | {most:.2} s |", times.len())?;
        }
        Ok(())
    }
}

#[test]
fn quantiles_are_times_that_occurred() {
    let times: Vec<Duration> = (1..=200).map(Duration::from_secs).collect();
    assert_eq!((quantile(&times, 0.5), quantile(&times, 0.99)), (100.0, 198.0));
    assert_eq!(quantile(&times[..1], 0.99), 1.0);
}
