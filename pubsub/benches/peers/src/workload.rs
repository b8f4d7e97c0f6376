//! The workloads by name.

use crate::job::Handler;
use clap::ValueEnum;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Workload {
    #[value(name = "publish_1")]
    Publish1,
    #[value(name = "publish_8")]
    Publish8,
    #[value(name = "publish_64")]
    Publish64,
    Bulk,
    #[value(name = "latency_100")]
    Latency100,
    #[value(name = "latency_2000")]
    Latency2000,
    #[value(name = "latency_5000")]
    Latency5000,
    Drain,
    FanOut,
    Update,
    UpdateAndSettle,
    Sleep,
}

/// A figure of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    /// The digits after the point.
    pub(crate) digits: usize,
}

const RATE: Metric = Metric { name: "events/s", digits: 0 };
const CLIENT: Metric = Metric { name: "client CPU, s per 100,000", digits: 2 };
const SERVER: Metric = Metric { name: "server CPU, s per 100,000", digits: 2 };
const P50: Metric = Metric { name: "p50, ms", digits: 2 };
const P99: Metric = Metric { name: "p99, ms", digits: 2 };

impl Workload {
    /// Its name on the command line and in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish1 => "publish_1",
            Self::Publish8 => "publish_8",
            Self::Publish64 => "publish_64",
            Self::Bulk => "bulk",
            Self::Latency100 => "latency_100",
            Self::Latency2000 => "latency_2000",
            Self::Latency5000 => "latency_5000",
            Self::Drain => "drain",
            Self::FanOut => "fan_out",
            Self::Update => "update",
            Self::UpdateAndSettle => "update_and_settle",
            Self::Sleep => "sleep",
        }
    }

    /// Its meaning, as a sentence.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Publish1 => "Single events, each in a transaction of its own, over 1 connection.",
            Self::Publish8 => "The same over 8 connections.",
            Self::Publish64 => "The same over 64 connections.",
            Self::Bulk => "Events published 1,000 to a call, over 2 connections.",
            Self::Latency100 => {
                "From the commit of a publish until its handler starts, at 100 events per second over 8 connections."
            }
            Self::Latency2000 => "The same at 2,000 events per second.",
            Self::Latency5000 => "The same at 5,000 events per second.",
            Self::Drain => {
                "A backlog handled by one process whose handler does nothing, until every event is settled."
            }
            Self::FanOut => {
                "The same with three consumers in the process, each of which handles every event."
            }
            Self::Update => {
                "The same with one consumer, whose handler updates a row in a transaction of its own."
            }
            Self::UpdateAndSettle => "The same, in a transaction that settles the event too.",
            Self::Sleep => "The same with a handler that sleeps for 1 ms, 100 deliveries at once.",
        }
    }

    pub(crate) fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Latency100 | Self::Latency2000 | Self::Latency5000 => &[P50, P99, RATE, CLIENT, SERVER],
            _ => &[RATE, CLIENT, SERVER],
        }
    }

    /// The connections that publish.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Publish1 => 1,
            Self::Publish64 => 64,
            Self::Publish8 | Self::Latency100 | Self::Latency2000 | Self::Latency5000 => 8,
            _ => 2,
        }
    }

    /// The events published per second, if they are paced.
    pub(crate) fn rate(self) -> Option<u32> {
        match self {
            Self::Latency100 => Some(100),
            Self::Latency2000 => Some(2_000),
            Self::Latency5000 => Some(5_000),
            _ => None,
        }
    }

    pub(crate) fn handler(self) -> Handler {
        match self {
            Self::Update => Handler::Update,
            Self::UpdateAndSettle => Handler::UpdateAndSettle,
            Self::Sleep => Handler::Sleep,
            _ => Handler::Nothing,
        }
    }

    pub(crate) fn consumers(self) -> usize {
        if self == Self::FanOut { 3 } else { 1 }
    }

    /// The deliveries that are handled at once, where the workload says so.
    pub(crate) fn concurrency(self) -> Option<usize> {
        (self == Self::Sleep).then_some(100)
    }
}
