//! The process of a contender, as the benchmark sees it: see `process.rs` for what the two say.

use crate::contender::{Contender, Program};
use crate::job::Job;
use crate::{cpu, runtimes};
use anyhow::{Context, Result, bail, ensure};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// The longest time until a process has connected, or has stopped.
const SOON: Duration = Duration::from_secs(60);

/// A running process. It is killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Installs the contender's schema in its own process.
    pub(crate) async fn install(contender: &Contender, job: &Job) -> Result<()> {
        let mut child = Self::spawn(contender, job)?;
        child.listen("done", SOON).await?;
        child.wait().await
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn start(contender: &Contender, job: &Job) -> Result<Self> {
        let mut child = Self::spawn(contender, job)?;
        child.listen("ready", SOON).await?;
        Ok(child)
    }

    fn spawn(contender: &Contender, job: &Job) -> Result<Self> {
        let mut command = command(contender)?;
        command.arg(serde_json::to_string(job)?).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Command::from(command).kill_on_drop(true).spawn()?;
        let input = process.stdin.take().context("the input is a pipe")?;
        let output = process.stdout.take().context("the output is a pipe")?;
        Ok(Self { process, input, output: BufReader::new(output).lines() })
    }

    pub(crate) async fn say(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(())
    }

    /// Waits until the process says `word`, and returns the numbers behind it.
    pub(crate) async fn listen(&mut self, word: &str, limit: Duration) -> Result<Vec<u64>> {
        let line = tokio::time::timeout(limit, self.output.next_line()).await;
        let Ok(line) = line else { bail!("not `{word}` within {} s", limit.as_secs()) };
        let line = line?.with_context(|| format!("it ended before `{word}`"))?;
        let mut words = line.split(' ');
        ensure!(words.next() == Some(word), "it said `{line}` instead of `{word}`");
        words.map(|number| number.parse().with_context(|| format!("`{line}` has no numbers"))).collect()
    }

    /// Tells a worker to stop. Returns the number of its calls and of distinct events, times their consumers.
    pub(crate) async fn stop(mut self) -> Result<(u64, u64)> {
        self.say("stop").await?;
        let numbers = self.listen("ended", SOON).await?;
        let [calls, distinct] = numbers[..] else { bail!("`ended` without two numbers") };
        self.wait().await?;
        Ok((calls, distinct))
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait(mut self) -> Result<()> {
        let ended = tokio::time::timeout(SOON, self.process.wait()).await;
        let status = ended.context("it does not end")??;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// The seconds that the process has worked.
    pub(crate) fn cpu(&self) -> Option<f64> {
        cpu::of_process(self.process.id()?)
    }
}

/// The command of a contender, to which the job is added.
///
/// # Errors
/// A sentence that says what this machine lacks.
pub(crate) fn command(contender: &Contender) -> Result<std::process::Command> {
    match contender.program {
        Program::Rust(_) => {
            let mut command = std::process::Command::new(std::env::current_exe()?);
            command.args(["child", contender.name]);
            Ok(command)
        }
        Program::Node { script, .. } => runtimes::node(script),
        Program::Python { script, .. } => runtimes::python(script),
    }
}
