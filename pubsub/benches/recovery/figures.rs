//! The figures of the benchmark.

/// Returns the value below which this share of the values lies.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    values[(last as f64 * share).round() as usize]
}

/// Prints a figure.
#[expect(clippy::print_stdout, reason = "the figures are the benchmark's output")]
pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.0} {unit}");
}
