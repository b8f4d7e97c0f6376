//! The tables, as Markdown. Pure: no clock, no files.

use crate::workload::Metric;

/// One workload's table.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) metrics: &'static [Metric],
    /// The metrics, from the first, that are compared and have a spread.
    pub(crate) compared: usize,
    /// The rows. The first is the one that the others are compared with.
    pub(crate) rows: Vec<Row>,
}

/// One contender's row.
pub(crate) struct Row {
    pub(crate) contender: &'static str,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    /// The figures of each round, in the order of the metrics, and the most repeated calls of a round.
    Measured { rounds: Vec<Vec<Option<f64>>>, repeated: u64 },
    /// The reason why there are none.
    NotMeasured(String),
}

/// Renders the table of a workload, and below it why contenders are missing.
pub(crate) fn render(section: &Section) -> String {
    let mut header = vec!["contender".to_owned()];
    for (at, metric) in section.metrics.iter().enumerate() {
        header.push(metric.name.to_owned());
        if at < section.compared {
            header.extend(["ours to it".to_owned(), "lowest, highest".to_owned()]);
        }
    }
    let mut lines = vec![header];
    let mut notes = Vec::new();
    for row in &section.rows {
        match &row.outcome {
            Outcome::Measured { rounds, repeated } => {
                lines.push(cells(section, row.contender, rounds));
                if *repeated > 0 {
                    notes.push(format!("{}: {repeated} calls of handlers were repetitions.", row.contender));
                }
            }
            Outcome::NotMeasured(reason) => notes.push(format!("{}: - ({reason}).", row.contender)),
        }
    }
    let mut text = format!("#### `{}`\n\n{}\n\n{}", section.name, section.about, markdown(&lines));
    if !notes.is_empty() {
        text += &format!("\n{}\n", notes.join("\n"));
    }
    text
}

fn cells(section: &Section, contender: &str, rounds: &[Vec<Option<f64>>]) -> Vec<String> {
    let mut cells = vec![contender.to_owned()];
    for (at, metric) in section.metrics.iter().enumerate() {
        let values = column(rounds, at);
        cells.push(median(&values).map_or("-".to_owned(), |value| number(value, metric.digits)));
        if at < section.compared {
            let ratio = ours(section).and_then(|ours| median(&ratios(ours, rounds, at)));
            cells.push(ratio.map_or("-".to_owned(), |ratio| number(ratio, 2)));
            cells.push(spread(&values, metric.digits));
        }
    }
    cells
}

/// The rounds of the first row, if it was measured.
fn ours(section: &Section) -> Option<&[Vec<Option<f64>>]> {
    match &section.rows.first()?.outcome {
        Outcome::Measured { rounds, .. } => Some(rounds),
        Outcome::NotMeasured(_) => None,
    }
}

fn column(rounds: &[Vec<Option<f64>>], at: usize) -> Vec<f64> {
    rounds.iter().filter_map(|round| round.get(at).copied().flatten()).collect()
}

/// The ratios of one metric, round by round.
fn ratios(ours: &[Vec<Option<f64>>], theirs: &[Vec<Option<f64>>], at: usize) -> Vec<f64> {
    let value = |round: &Vec<Option<f64>>| round.get(at).copied().flatten();
    ours.iter().zip(theirs).filter_map(|(ours, theirs)| Some(value(ours)? / value(theirs)?)).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn spread(values: &[f64], digits: usize) -> String {
    let lowest = values.iter().copied().min_by(f64::total_cmp);
    let highest = values.iter().copied().max_by(f64::total_cmp);
    match lowest.zip(highest) {
        Some((lowest, highest)) => format!("{}, {}", number(lowest, digits), number(highest, digits)),
        None => "-".to_owned(),
    }
}

/// A number with some digits after the point, and commas between groups of three before it.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

/// A table of Markdown, whose columns are padded for readers of the text.
fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|at| lines.iter().filter_map(|line| Some(line.get(at)?.len())).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if at == 0 {
            text += &format!("|{}\n", "---|".repeat(columns));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &[Metric] =
        &[Metric { name: "events/s", digits: 0 }, Metric { name: "client CPU", digits: 2 }];

    fn measured(contender: &'static str, rates: [f64; 3]) -> Row {
        let rounds = rates.map(|rate| vec![Some(rate), None]).into();
        Row { contender, outcome: Outcome::Measured { rounds, repeated: 0 } }
    }

    fn section(rows: Vec<Row>) -> Section {
        Section { name: "drain", about: "A backlog.", metrics: METRICS, compared: 1, rows }
    }

    #[test]
    fn ratios_are_medians_of_the_rounds_ratios() {
        let ours = measured("ours", [100.0, 200.0, 300.0]);
        let peer = measured("peer", [50.0, 50.0, 300.0]);
        let text = render(&section(vec![ours, peer]));
        let peer = text.lines().find(|line| line.contains("| peer"));
        let cells: Option<Vec<&str>> = peer.map(|line| line.split('|').map(str::trim).collect());
        assert_eq!(cells, Some(vec!["", "peer", "50", "2.00", "50, 300", "-", ""]));
    }

    #[test]
    fn a_contender_that_cannot_says_why() {
        let peer = Row { contender: "peer", outcome: Outcome::NotMeasured("no Node".into()) };
        let text = render(&section(vec![measured("ours", [1.0, 1.0, 1.0]), peer]));
        assert!(text.contains("peer: - (no Node)."), "{text}");
    }

    #[test]
    fn without_ours_there_is_no_ratio() {
        let ours = Row { contender: "ours", outcome: Outcome::NotMeasured("failed".into()) };
        let text = render(&section(vec![ours, measured("peer", [1.0, 1.0, 1.0])]));
        assert!(text.contains("| 1        | -          | 1, 1"), "{text}");
    }

    #[test]
    fn numbers_have_groups_of_three() {
        let numbers = [(0.5, 2), (12.0, 0), (123.0, 0), (1234.0, 0), (-1234567.25, 1), (-123.0, 0)];
        let texts = numbers.map(|(value, digits)| number(value, digits));
        assert_eq!(texts, ["0.50", "12", "123", "1,234", "-1,234,567.2", "-123"]);
    }
}
