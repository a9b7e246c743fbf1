//! A profile's result at the terminal: a line of bars for everything that was watched, the steps,
//! and the verdict.

use std::fmt::Write;

use crate::cli::glyphs::Glyphs;
use crate::load::{ProfileReport, StepReport};

/// Bars of a line.
const BARS: usize = 48;

pub(super) fn summary(report: &ProfileReport) -> String {
    let mut text = format!("{}\n\n", report.run);
    for chart in report.charts() {
        for (name, points) in &chart.series {
            let known: Vec<f64> = points.iter().filter_map(|point| point.1).collect();
            let Some(most) = known.iter().copied().reduce(f64::max) else { continue };
            let least = known.iter().copied().fold(most, f64::min);
            let range = format!("{least:.1} to {most:.1} {}", chart.unit);
            let bars = bars(points.iter().map(|point| point.1.unwrap_or(0.0)), most);
            let _ = writeln!(text, "{name:<13} {bars:<BARS$}  {}", range.trim_end());
        }
    }
    if report.steps.len() > 1 {
        text.push('\n');
        for StepReport { start, end, figures, saturated } in &report.steps {
            let mark = if saturated.is_some() { "  saturated" } else { "" };
            let _ = writeln!(
                text,
                "{start:>6.0} to {end:>5.0} s {:>10.0}/s due {:>10.0}/s answered  p99 {:.1} ms{mark}",
                figures.offered, figures.answered, figures.p99_ms
            );
        }
    }
    let profile = format!("{:?}", report.profile).to_lowercase();
    let _ = write!(text, "\n{profile:<9} {}", report.verdict);
    text
}

/// Means of neighbours as bars: sums would make a longer last group of them look higher.
fn bars(values: impl Iterator<Item = f64>, most: f64) -> String {
    let values: Vec<f64> = values.collect();
    let each = values.len().div_ceil(BARS).max(1);
    let parts = values.chunks(each).map(|chunk| {
        let mean = chunk.iter().sum::<f64>() / chunk.len() as f64;
        (mean.max(0.0) / most.max(f64::MIN_POSITIVE) * 1e6) as u64
    });
    Glyphs::of_locale().sparkline(&parts.collect::<Vec<_>>(), BARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_share_of_the_most() {
        assert_eq!(bars([0.0, 1.0, 0.5].into_iter(), 1.0), " █▄");
        let long = bars((0..1_000).map(|_| 2.0), 2.0);
        assert!(long.chars().all(|bar| bar == '█') && long.chars().count() <= BARS, "{long}");
        assert_eq!(bars([0.0, 0.0].into_iter(), 0.0), "  ");
    }
}
