//! Whether something grows: a line through noisy points by Theil and Sen, which a few outliers, such
//! as the moment of a flush, do not move.

use serde::Serialize;

/// More points are made fewer first: slopes are taken between all pairs.
const POINTS_MAX: usize = 400;
/// Fewer say nothing.
const POINTS_MIN: usize = 8;
/// Of the normal distribution: 99 % of intervals hold the slope.
const Z: f64 = 2.576;
/// What grows by less over the time looked at is called steady, however surely it grows.
const SHARE_MIN: f64 = 0.05;

/// A slope, per second, and the interval that holds it with 99 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Trend {
    pub(crate) slope: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Median of the values.
    pub(crate) level: f64,
    /// Seconds from the first point to the last.
    pub(crate) span: f64,
}

/// What the trend of a resource means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Growth {
    /// No growth that noise does not explain, or one too small to matter.
    Steady,
    /// It grows: a leak, unless something is known to fill up for longer than this run.
    Grows,
    /// Too few points.
    Unknown,
}

/// The median of all slopes between two points (seconds, value) with its confidence interval; none
/// where there are too few points.
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<Trend> {
    let points = fewer(points);
    let n = points.len();
    let span = points.last()?.0 - points.first()?.0;
    let mut slopes: Vec<f64> = (0..n)
        .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
        .map(|(i, j)| (points[j].0 - points[i].0, points[j].1 - points[i].1))
        .filter(|(seconds, _)| *seconds > 0.0)
        .map(|(seconds, value)| value / seconds)
        .collect();
    if n < POINTS_MIN || slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let pairs = slopes.len() as f64;
    let n = n as f64;
    // Half of the interval's width in ranks, by the variance of Kendall's statistic.
    let width = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    let values = points.iter().map(|point| point.1).collect();
    Some(Trend {
        slope: median_of_sorted(&slopes),
        low: at((pairs - width) / 2.0),
        high: at((pairs + width) / 2.0),
        level: median(values),
        span,
    })
}

/// The verdict over the second half of a run: what fills up at the beginning is not looked at.
pub(crate) fn growth(points: &[(f64, f64)]) -> (Growth, Option<Trend>) {
    let Some(trend) = theil_sen(&points[points.len() / 2..]) else {
        return (Growth::Unknown, None);
    };
    let is_sure = trend.low > 0.0;
    let is_large = trend.slope * trend.span > SHARE_MIN * trend.level.abs();
    let growth = if is_sure && is_large { Growth::Grows } else { Growth::Steady };
    (growth, Some(trend))
}

/// Medians of neighbours, where there are too many points.
fn fewer(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS_MAX).max(1);
    let of = |chunk: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| {
        median(chunk.iter().map(pick).collect())
    };
    points.chunks(each).map(|chunk| (of(chunk, |p| p.0), of(chunk, |p| p.1))).collect()
}

/// The median; 0 of nothing.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&values)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (n, half) if n % 2 == 1 => sorted[half],
        (_, half) => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with noise of one unit and an outlier now and then.
    fn line(n: usize, slope: f64) -> Vec<(f64, f64)> {
        let mut random = crate::load::Random::new(11);
        let point = |i: usize| {
            let noise = (random.next() % 2_001) as f64 / 1e3 - 1.0;
            let outlier = if i % 17 == 3 { 500.0 } else { 0.0 };
            (i as f64, 100.0 + slope * i as f64 + noise + outlier)
        };
        (0..n).map(point).collect()
    }

    #[test]
    fn the_slope_is_found_through_noise_and_outliers() {
        for (n, slope) in [(60, 0.5), (200, -0.25), (5_000, 0.01)] {
            let trend = theil_sen(&line(n, slope)).expect("enough points");
            assert!((trend.slope - slope).abs() < 0.02, "{trend:?} for {slope}");
            assert!(trend.low <= slope + 1e-3 && slope - 1e-3 <= trend.high, "{trend:?}");
        }
        assert_eq!(theil_sen(&line(7, 1.0)), None);
        assert_eq!(theil_sen(&[(1.0, 2.0); 50]), None, "no time passes");
    }

    #[test]
    fn a_leak_grows_and_noise_or_a_trifle_does_not() {
        assert_eq!(growth(&line(400, 0.2)).0, Growth::Grows);
        assert_eq!(growth(&line(400, 0.0)).0, Growth::Steady);
        assert_eq!(growth(&line(400, -0.2)).0, Growth::Steady);
        assert_eq!(growth(&line(400, 0.01)).0, Growth::Steady, "2 in 100");
        assert_eq!(growth(&line(10, 1.0)).0, Growth::Unknown);
        // What fills up in the first half is no leak.
        let filled: Vec<_> = (0..400).map(|i| (f64::from(i), f64::from(i.min(150)))).collect();
        assert_eq!(growth(&filled).0, Growth::Steady);
    }
}
