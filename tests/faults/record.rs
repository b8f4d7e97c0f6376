//! The histories that workers write: one file for each, appended to before each step, so that it survives the process.

use crate::history::{Handling, Nanos, Step};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The present time.
pub(crate) fn now() -> Nanos {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    Nanos::try_from(since.as_nanos()).expect("the year is before 2554")
}

fn line(handling: &Handling) -> String {
    let Handling { step, subscription, n, token, at } = handling;
    let step = match step {
        Step::Started => 's',
        Step::Accepted => 'a',
        Step::Failed => 'f',
    };
    format!("{step} {subscription} {n} {token} {at}\n")
}

fn parse(line: &str) -> Option<Handling> {
    let mut fields = line.split(' ');
    let step = match fields.next()? {
        "s" => Step::Started,
        "a" => Step::Accepted,
        "f" => Step::Failed,
        _ => return None,
    };
    let subscription = fields.next()?.parse().ok()?;
    let mut number = || fields.next()?.parse().ok();
    Some(Handling { step, subscription, n: number()?, token: number()?, at: number()?.cast_unsigned() })
}

/// The writing end of a history.
#[derive(Debug)]
pub(crate) struct Recorder(File);

impl Recorder {
    pub(crate) fn create(path: &Path) -> Self {
        Self(File::options().create(true).append(true).open(path).expect("a place for the history"))
    }

    /// Writes a step. It is in the file when this returns.
    pub(crate) fn record(&self, step: Step, subscription: usize, n: i64, token: i64) {
        let line = line(&Handling { step, subscription, n, token, at: now() });
        (&self.0).write_all(line.as_bytes()).expect("the history can be written");
    }
}

/// The reading end of a history.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    /// The length of the complete lines that were read.
    read: u64,
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// Reads the steps since the last call.
    pub(crate) fn next(&mut self) -> Vec<Handling> {
        // A worker that has not begun has no file.
        let Ok(mut file) = File::open(&self.path) else { return Vec::new() };
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.read)).expect("a file");
        file.read_to_string(&mut text).expect("the history is text");
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += complete as u64;
        text[..complete].lines().map(|line| parse(line).expect("a line of a history")).collect()
    }
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let path = std::env::temp_dir().join(format!("pubsub-history-{:016x}", fastrand::u64(..)));
    let mut tail = Tail::new(path.clone());
    assert_eq!(tail.next().len(), 0);
    let recorder = Recorder::create(&path);
    recorder.record(Step::Started, 1, 42, 7);
    (&recorder.0).write_all(b"a 1 4").unwrap();
    let read = tail.next();
    assert_eq!(read.len(), 1);
    let first = read[0];
    assert_eq!((first.step, first.subscription, first.n, first.token), (Step::Started, 1, 42, 7));
    assert!(first.at <= now());
    (&recorder.0).write_all(b"2 8 9\n").unwrap();
    assert_eq!(tail.next().len(), 1);
    std::fs::remove_file(path).unwrap();
}
