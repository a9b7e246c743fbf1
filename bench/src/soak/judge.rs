//! Whether a series is flat: by the Theil–Sen slope, which a few outliers do not move.

/// A straight line through the second half: where it begins and what it rises by in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trend {
    /// Where the second half begins.
    pub(super) from: f64,
    /// The value of the line there.
    pub(super) start: f64,
    pub(super) slope: f64,
}

/// What was found of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Of the second half.
    pub(super) median: f64,
    /// What the trend adds over the second half, as a share of the median.
    pub(super) growth: f64,
    pub(super) is_flat: bool,
    pub(super) trend: Trend,
}

/// Judges what comes from `half` on: it may grow by a share of its median, or by so much that is none yet. What
/// shrinks is flat.
pub(super) fn flat(at: &[f64], values: &[f64], half: f64, most: f64, slack: f64) -> Verdict {
    let (at, values): (Vec<f64>, Vec<f64>) =
        at.iter().zip(values).filter(|(at, _)| **at >= half).unzip();
    let slope = theil_sen(&at, &values);
    let middle = median(&values);
    let length = at.last().unwrap_or(&0.0) - at.first().unwrap_or(&0.0);
    let grown = slope * length;
    let growth = if middle > 0.0 { grown / middle } else { 0.0 };
    // Through the middle of the points.
    let offsets: Vec<f64> = at.iter().zip(&values).map(|(at, v)| v - slope * at).collect();
    let trend = Trend { from: half, start: median(&offsets) + slope * half, slope };
    Verdict { median: middle, growth, is_flat: growth <= most || grown <= slack, trend }
}

/// The median of the slopes between all pairs of points; 0 where there are no two.
fn theil_sen(at: &[f64], values: &[f64]) -> f64 {
    let mut slopes = Vec::new();
    for (i, (x, y)) in at.iter().zip(values).enumerate() {
        let later = at.iter().zip(values).skip(i + 1).filter(|(other, _)| *other > x);
        slopes.extend(later.map(|(other, value)| (value - y) / (other - x)));
    }
    median(&slopes)
}

/// The middle one, or the mean of the two middle ones; 0 of none.
pub(super) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes() -> Vec<f64> {
        (0..60).map(f64::from).collect()
    }

    #[test]
    fn what_grows_in_the_second_half_is_not_flat() {
        let at = minutes();
        // Fills up in the first half, and stays.
        let filled: Vec<f64> = at.iter().map(|at| 100.0 + 10.0 * at.min(30.0)).collect();
        let found = flat(&at, &filled, 30.0, 0.05, 0.0);
        assert!(found.is_flat && found.growth.abs() < 1e-9, "{found:?}");
        assert_eq!(found.median, 400.0);
        let leaking: Vec<f64> = at.iter().map(|at| 400.0 + at).collect();
        let found = flat(&at, &leaking, 30.0, 0.05, 0.0);
        assert!(!found.is_flat && (found.growth - 29.0 / 444.5).abs() < 1e-9, "{found:?}");
        assert_eq!((found.trend.slope, found.trend.start), (1.0, 430.0));
        assert!(flat(&at, &leaking, 30.0, 0.05, 30.0).is_flat, "so much is none yet");
        let shrinking: Vec<f64> = at.iter().map(|at| 400.0 - at).collect();
        assert!(flat(&at, &shrinking, 30.0, 0.05, 0.0).is_flat);
    }

    #[test]
    fn a_sawtooth_and_outliers_are_flat() {
        let at = minutes();
        let sawtooth: Vec<f64> = (0..60).map(|n| 500.0 + 60.0 * f64::from(n % 6)).collect();
        assert!(flat(&at, &sawtooth, 30.0, 0.05, 0.0).is_flat);
        let mut odd = vec![500.0; 60];
        (odd[45], odd[58], odd[59]) = (5_000.0, 5_000.0, 5_000.0);
        assert!(flat(&at, &odd, 30.0, 0.05, 0.0).is_flat);
    }

    #[test]
    fn nothing_is_flat_and_zero() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), 2.5);
        assert!(flat(&[], &[], 1.0, 0.05, 0.0).is_flat);
    }
}
