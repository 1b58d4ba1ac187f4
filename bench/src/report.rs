//! What is printed: figures, each beside the floor that it must reach.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's whole purpose is to print figures"
)]

use std::time::Duration;

/// A table of figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Its name among the floors (P1 …), or nothing.
    pub(crate) name: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// The figure.
    pub(crate) figure: String,
    /// What it must reach, or nothing.
    pub(crate) floor: String,
    /// Whether it does.
    pub(crate) met: Option<bool>,
    /// What else is worth knowing.
    pub(crate) more: String,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a figure that only explains.
    pub(crate) fn explain(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.rows.push(Row { what: what.into(), figure: figure.into(), ..Row::default() });
    }

    /// Prints the table, and tells whether every floor was reached.
    pub(crate) fn print(&self) -> bool {
        let width = |column: fn(&Row) -> &str, title: &str| {
            let widths = self.rows.iter().map(|row| column(row).chars().count());
            widths.max().unwrap_or(0).max(title.len())
        };
        let what = width(|row| &row.what, "what");
        let figure = width(|row| &row.figure, "measured");
        let floor = width(|row| &row.floor, "floor");
        println!("\n{:<4} {:<what$}  {:>figure$}  {:>floor$}", "row", "what", "measured", "floor");
        for Row { name, what: text, figure: measured, floor: wanted, met, more } in &self.rows {
            let verdict = match met {
                Some(true) => "PASS",
                Some(false) => "below",
                None => "",
            };
            let line = format!(
                "{name:<4} {text:<what$}  {measured:>figure$}  {wanted:>floor$}  {verdict:<5}  {more}"
            );
            println!("{}", line.trim_end());
        }
        self.rows.iter().all(|row| row.met != Some(false))
    }
}

/// Says what is going on, beside the figures.
pub(crate) fn note(text: &str) {
    eprintln!("  {text}");
}

/// The figures of several rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds the figure of one more round.
    pub(crate) fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The one in the middle; 0 without rounds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        sorted.get(low).zip(sorted.get(high)).map_or(0.0, |(low, high)| f64::midpoint(*low, *high))
    }

    /// Lowest and highest.
    pub(crate) fn range(&self) -> (f64, f64) {
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(0.0, f64::max);
        (lowest.min(highest), highest)
    }
}

/// A number of things per second, rounded to what means something.
pub(crate) fn rate(per_second: f64) -> String {
    let step = if per_second < 1_000.0 { 1.0 } else { 10.0 };
    let digits = format!("{:.0}", (per_second / step).round() * step);
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text}/s")
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1_000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

/// Bytes in MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_what_means_something() {
        assert_eq!(rate(171_234.5), "171,230/s");
        assert_eq!(rate(999.6), "1,000/s");
        assert_eq!(rate(7.2), "7/s");
        assert_eq!(millis(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(millis(Duration::from_millis(50)), "50 ms");
    }

    #[test]
    fn rounds_have_a_median_and_a_range() {
        let rounds = Rounds(vec![3.0, 1.0, 2.0, 10.0]);
        assert!((rounds.median() - 2.5).abs() < f64::EPSILON);
        assert_eq!(rounds.range(), (1.0, 10.0));
        assert_eq!(Rounds::default().range(), (0.0, 0.0));
    }
}
