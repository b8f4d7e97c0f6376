//! The recorded counts, and the comparison with them.

use crate::workload::Workload;
use std::process::{Command, ExitCode};

/// The compiler and the processor of the recorded counts. Another compiler may make a few per cent more or fewer instructions.
const COMPILER: &str = "rustc 1.95.0 ";
const PROCESSOR: &str = "x86_64";

/// The instructions and the allocations of an event: the middle between a quiet machine and one with a load of twenty. After a
/// change that makes fewer, write the lower ones here.
const RECORDED: [(Workload, f64, f64); 4] = [
    (Workload::Sync, 7_650.0, 5.32),
    (Workload::Async, 11_490.0, 8.68),
    (Workload::Publish, 24_520.0, 23.07),
    (Workload::PublishAll, 4_766.0, 2.04),
];

/// The part by which a count may differ from the recorded one: with its compiler, and with another.
const BOUND: f64 = 0.03;
const BOUND_OF_OTHERS: f64 = 0.10;

/// Compares counts with the recorded ones. A lower count fails too, so that the recorded one is never far above.
#[expect(clippy::print_stdout, reason = "the comparison is the benchmark's output")]
pub(crate) fn check(counts: &[(Workload, f64, f64)]) -> ExitCode {
    if std::env::consts::ARCH != PROCESSOR {
        println!("not compared: the counts are recorded for {PROCESSOR}");
        return ExitCode::SUCCESS;
    }
    let bound = if compiler().starts_with(COMPILER) { BOUND } else { BOUND_OF_OTHERS };
    let mut is_good = true;
    for &(workload, instructions, allocations) in counts {
        let recorded = RECORDED.iter().find(|(of, ..)| *of == workload).expect("every workload has counts");
        let of = [("instructions", instructions, recorded.1), ("allocations", allocations, recorded.2)];
        for (what, count, recorded) in of {
            let change = count / recorded - 1.0;
            if change.abs() > bound {
                is_good = false;
                let name = workload.name();
                let advice = if change > 0.0 { "find out what costs more" } else { "record the lower count" };
                println!(
                    "{name}: {count:.2} {what} per event, {recorded:.2} recorded ({:+.1} %): {advice}",
                    change * 100.0
                );
            }
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output();
    version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
