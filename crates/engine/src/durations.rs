//! How long something took, as a histogram: written by those who work, read by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets in milliseconds: a flush, a fsync or a request of a busy disk lies
/// between a millisecond and a minute.
const BOUNDS_MS: [u64; 14] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000];

/// Durations of one kind of work since the process started.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

/// What was observed up to a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DurationFigures {
    /// Upper bound in seconds, the last one infinite, and how many were at most that and above the
    /// bound before.
    pub buckets: Vec<(f64, u64)>,
    /// Of all together, in seconds.
    pub sum_seconds: f64,
}

impl DurationFigures {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

impl Durations {
    /// Takes one, in milliseconds.
    pub fn observe_ms(&self, millis: u64) {
        let at = BOUNDS_MS.partition_point(|&bound| bound < millis);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// What there was up to now. One that comes meanwhile may be in the buckets and not in the sum.
    pub fn figures(&self) -> DurationFigures {
        let bounds = BOUNDS_MS.iter().map(|&bound| bound as f64 / 1e3).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        DurationFigures {
            buckets: bounds.zip(counts).collect(),
            sum_seconds: self.sum_ms.load(Ordering::Relaxed) as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_beyond_all_to_the_last() {
        let durations = Durations::default();
        [0, 1, 2, 3, 60_000, 60_001].iter().for_each(|&millis| durations.observe_ms(millis));
        let figures = durations.figures();
        let filled: Vec<_> = figures.buckets.iter().filter(|(_, count)| *count > 0).collect();
        let expected = [(0.001, 2), (0.002, 1), (0.005, 1), (60.0, 1), (f64::INFINITY, 1)];
        assert_eq!(filled, expected.iter().collect::<Vec<_>>());
        assert_eq!((figures.count(), figures.sum_seconds), (6, 120.007));
    }
}
