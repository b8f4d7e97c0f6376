//! The time that processes have worked, as Linux counts it.

use std::fs::{read_dir, read_to_string};

/// The length of a tick, in which the kernel counts the time of processes.
const TICKS_PER_SECOND: f64 = 100.0;

/// The times that a process has worked, in seconds.
struct Times {
    parent: u32,
    own: f64,
    of_ended_children: f64,
}

impl Times {
    /// Reads the times of a process, unless it has ended or the system is not Linux.
    fn read(process: u32) -> Option<Self> {
        Self::parse(&read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The fields after the name, which is in parentheses and may contain spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let seconds =
            |at: usize| -> Option<f64> { Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_SECOND) };
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            of_ended_children: seconds(13)? + seconds(14)?,
        })
    }
}

/// Returns the seconds that a process has worked.
pub(crate) fn of_process(process: u32) -> Option<f64> {
    Some(Times::read(process)?.own)
}

/// Returns the seconds that a server's processes have worked, also those that have ended.
pub(crate) fn of_server(server: u32) -> Option<f64> {
    let processes = read_dir("/proc").ok()?.flatten();
    let all = processes.filter_map(|entry| Times::read(entry.file_name().to_str()?.parse().ok()?));
    let children: f64 = all.filter(|times| times.parent == server).map(|times| times.own).sum();
    let server = Times::read(server)?;
    Some(server.own + server.of_ended_children + children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_is_no_obstacle() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 20 30 20 0 1 0";
        let times = Times::parse(stat);
        let times = times.as_ref().map(|times| (times.parent, times.own, times.of_ended_children));
        assert_eq!(times, Some((3, 2.0, 0.5)));
    }
}
