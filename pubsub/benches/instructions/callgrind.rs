//! Runs a process under callgrind, and reads the counts.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The functions of the C library that allocate.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"];

/// The calls of one function by another.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    count: i64,
    /// Their instructions, with those of what they call in turn.
    instructions: i64,
}

/// The cost of a process.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) instructions: i64,
    /// The calls by caller and callee.
    calls: HashMap<(String, String), Calls>,
}

impl Profile {
    /// Counts a process. Its children are not counted.
    pub(crate) fn of(give_part: impl FnOnce(&mut Command), place: &Path) -> Self {
        let file = place.join("callgrind.out");
        let mut valgrind = Command::new("valgrind");
        // Fair, so that no thread waits long for another: valgrind runs one at a time.
        valgrind.args(["--tool=callgrind", "--fair-sched=yes", "--compress-strings=no", "--compress-pos=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", file.display()));
        valgrind.arg(std::env::current_exe().expect("a binary has a path"));
        give_part(&mut valgrind);
        let output = valgrind.output().expect("valgrind: install it (`apt-get install valgrind`)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::read(&std::fs::read_to_string(file).expect("what callgrind has written"))
    }

    /// Reads callgrind's format: for each function its own lines with their cost, and after each `calls=` a line with the cost of
    /// what was called.
    fn read(text: &str) -> Self {
        let mut profile = Self::default();
        let (mut caller, mut callee, mut called) = ("", "", None);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                caller = name;
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = name;
            } else if let Some(count) = line.strip_prefix("calls=") {
                called = Some(number(count, 0));
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                let cost = number(line, 1);
                match called.take() {
                    Some(count) => profile.note(caller, callee, count, cost),
                    None => profile.instructions += cost,
                }
            }
        }
        profile
    }

    fn note(&mut self, caller: &str, callee: &str, count: i64, instructions: i64) {
        let calls = self.calls.entry((caller.to_owned(), callee.to_owned())).or_default();
        calls.count += count;
        calls.instructions += instructions;
    }

    /// Subtracts what another process has cost.
    pub(crate) fn less(mut self, other: &Self) -> Self {
        self.instructions -= other.instructions;
        for (edge, theirs) in &other.calls {
            let ours = self.calls.entry(edge.clone()).or_default();
            ours.count -= theirs.count;
            ours.instructions -= theirs.instructions;
        }
        self
    }

    /// Returns the instructions of all functions whose name has one of these parts, and of what they call. One that calls another
    /// through a third, whose name has none of the parts, would count it twice.
    pub(crate) fn within(&self, parts: &[&str]) -> i64 {
        let is_part = |name: &str| parts.iter().any(|part| name.contains(part));
        let entered = self.calls.iter().filter(|((caller, callee), _)| is_part(callee) && !is_part(caller));
        entered.map(|(_, calls)| calls.instructions).sum()
    }

    pub(crate) fn allocations(&self) -> i64 {
        let of = self.calls.iter().filter(|((_, callee), _)| ALLOCATORS.contains(&callee.as_str()));
        of.map(|(_, calls)| calls.count).sum()
    }
}

/// Returns a number of a line of numbers.
fn number(line: &str, at: usize) -> i64 {
    let number = line.split(' ').nth(at).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("callgrind has written `{line}`"))
}
