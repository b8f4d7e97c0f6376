//! Turns of the ways that are compared.

use crate::figures::{figure, median};

/// The number of rounds. Every way has a turn in each.
pub(crate) const ROUNDS: usize = 5;

/// The values of the ways that are compared: a column for each way, and a row for each round.
#[derive(Debug)]
pub(crate) struct Rounds<const WAYS: usize> {
    values: Vec<[f64; WAYS]>,
}

impl<const WAYS: usize> Rounds<WAYS> {
    /// Gives every way a turn in each round, in an order that is reversed from round to round.
    pub(crate) async fn play(rounds: usize, mut turn: impl AsyncFnMut(usize) -> f64) -> Self {
        let mut values = Vec::new();
        for round in 0..rounds {
            let mut row = [0.0; WAYS];
            for place in 0..WAYS {
                let way = if round % 2 == 0 { place } else { WAYS - 1 - place };
                row[way] = turn(way).await;
            }
            values.push(row);
        }
        Self { values }
    }

    /// Prints the median of each way.
    pub(crate) fn print(&self, names: [&str; WAYS], unit: &str) {
        for (way, name) in names.into_iter().enumerate() {
            figure(name, median(self.values.iter().map(|row| row[way]).collect()), unit);
        }
    }

    /// Prints the median of the rounds' ratios of two ways.
    pub(crate) fn print_ratio(&self, name: &str, way: usize, to: usize) {
        figure(name, median(self.values.iter().map(|row| row[way] / row[to]).collect()), "ratio");
    }
}
