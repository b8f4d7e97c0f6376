//! The figures of the benchmark.

/// Returns the median of some values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a figure.
#[expect(clippy::print_stdout, reason = "the figures are the benchmark's output")]
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    if value < 100.0 {
        println!("figure {name} {value:.3} {unit}");
    } else {
        println!("figure {name} {value:.0} {unit}");
    }
}
