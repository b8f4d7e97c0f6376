//! Measures `pubsub` beside other libraries on PostgreSQL, in one run and in turns.
//!
//! The benchmark starts a server of its own. Each contender works in a process of its own, so that its processor time is told
//! apart from the benchmark's, and so that those in Node and Python are measured in the same way. `docs/benchmarks.md` has the
//! command, the workloads and what each contender does not do.

mod child;
mod clock;
mod contender;
mod contenders;
mod cpu;
mod database;
mod handler;
mod job;
mod library;
mod order;
mod process;
mod report;
mod runtimes;
mod table;
mod tally;
mod versions;
mod workload;
mod workloads;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use contender::{Contender, Program};
use table::{Outcome, Row, Section};
use workload::Workload;
use workloads::Size;

/// Measures pubsub beside other libraries on PostgreSQL.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The workloads, separated by commas. Default: all
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,

    /// The contenders besides pubsub, separated by commas. Default: all
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,

    /// The events of a backlog, and of a bulk
    #[arg(long, default_value_t = 100_000)]
    events: u64,

    /// The time of a publisher, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,

    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Also write the figures into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the contenders: their versions, settings, and what they lack
    Describe {
        /// Also write this into docs/benchmarks.md
        #[arg(long)]
        write: bool,
    },

    /// Does the job of a contender: for the benchmark itself
    #[command(hide = true)]
    Child { contender: String, job: String },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let contenders = contenders::all();
    match &arguments.command {
        Some(Command::Child { contender, job }) => run_child(&contenders, contender, job),
        Some(Command::Describe { write }) => {
            print(report::CONTENDERS, &report::describe_all(&contenders), *write)
        }
        None => actix::System::new().block_on(benchmark(&arguments, &contenders)),
    }
}

fn run_child(contenders: &[Contender], name: &str, job: &str) -> Result<()> {
    let contender = contenders.iter().find(|contender| contender.name == name);
    match contender.context("no contender has this name")?.program {
        Program::Rust(library) => process::run(library, &serde_json::from_str(job)?),
        Program::Node { .. } | Program::Python { .. } => bail!("{name} is not a program in Rust"),
    }
}

async fn benchmark(arguments: &Arguments, contenders: &[Contender]) -> Result<()> {
    let wanted = chosen(contenders, &arguments.contenders)?;
    let workloads = match &arguments.workloads[..] {
        [] => Workload::value_variants(),
        some => some,
    };
    let size = Size { events: arguments.events, seconds: arguments.seconds };
    let server = database::server()?;
    let conditions = report::conditions(&server, arguments.rounds, size).await?;
    let mut sections = Vec::new();
    for workload in workloads {
        sections.push(Bout::new(*workload, &wanted).play(&server, arguments.rounds, size).await);
    }
    print(report::FIGURES, &report::figures(&conditions, &sections), arguments.write)
}

#[expect(clippy::print_stdout, reason = "the report is the benchmark's output")]
fn print(part: &str, text: &str, write: bool) -> Result<()> {
    println!("{text}");
    if write {
        report::write(part, text)?;
    }
    Ok(())
}

/// The contenders of these names, or all. Ours is always among them.
fn chosen<'a>(contenders: &'a [Contender], names: &[String]) -> Result<Vec<&'a Contender>> {
    if let Some(unknown) = names.iter().find(|name| contenders.iter().all(|known| known.name != *name)) {
        let known: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
        bail!("no contender is named `{unknown}`: they are {}", known.join(", "));
    }
    let is_chosen = |at: usize, contender: &Contender| {
        at == 0 || names.is_empty() || names.iter().any(|name| name == contender.name)
    };
    let indexed = contenders.iter().enumerate();
    Ok(indexed.filter(|(at, contender)| is_chosen(*at, contender)).map(|(_, contender)| contender).collect())
}

/// All turns of one workload.
struct Bout<'a> {
    workload: Workload,
    contenders: &'a [&'a Contender],
    rows: Vec<Row>,
}

impl<'a> Bout<'a> {
    fn new(workload: Workload, contenders: &'a [&'a Contender]) -> Self {
        let rows = contenders.iter().map(|contender| {
            let outcome = match (contender.refusal(workload), child::command(contender)) {
                (Some(reason), _) => Outcome::NotMeasured(reason.to_owned()),
                (None, Err(missing)) => Outcome::NotMeasured(format!("not run: {missing:#}")),
                (None, Ok(_)) => Outcome::Measured { rounds: Vec::new(), repeated: 0 },
            };
            Row { contender: contender.name, outcome }
        });
        Self { workload, contenders, rows: rows.collect() }
    }

    /// Gives every contender a turn in each round, in an order that is reversed from round to round.
    async fn play(mut self, server: &pubsub::testing::Server, rounds: usize, size: Size) -> Section {
        for round in 0..rounds {
            for place in 0..self.contenders.len() {
                let at = if round % 2 == 0 { place } else { self.contenders.len() - 1 - place };
                let name = format!("{}_{round}_{at}", self.workload.name());
                self.turn(server, size, &name, at).await;
            }
        }
        let metrics = self.workload.metrics();
        let compared = if self.workload.rate().is_some() { 2 } else { 1 };
        Section {
            name: self.workload.name(),
            about: self.workload.about(),
            metrics,
            compared,
            rows: self.rows,
        }
    }

    /// A contender that has failed has no more turns.
    async fn turn(&mut self, server: &pubsub::testing::Server, size: Size, name: &str, at: usize) {
        let Outcome::Measured { rounds, repeated } = &mut self.rows[at].outcome else { return };
        let contender = self.contenders[at];
        match workloads::play(server, contender, self.workload, size, name).await {
            Ok(measured) => {
                let figures = self.workload.metrics().iter().zip(&measured.figures);
                let figures: Vec<String> = figures
                    .map(|(metric, figure)| {
                        let figure =
                            figure.map_or("-".to_owned(), |figure| table::number(figure, metric.digits));
                        format!("{figure} {}", metric.name)
                    })
                    .collect();
                eprintln!("{name} {}: {}", contender.name, figures.join("; "));
                rounds.push(measured.figures);
                *repeated = measured.repeated.max(*repeated);
            }
            Err(error) => {
                eprintln!("{name} {}: {error:#}", contender.name);
                self.rows[at].outcome = Outcome::NotMeasured(format!("failed: {error:#}"));
            }
        }
    }
}
