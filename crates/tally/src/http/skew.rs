//! How evenly events fall on partitions: what each was given of late.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Samples that are kept; with one every two seconds a stretch of ten seconds.
const KEPT: usize = 6;

/// How far each partition's log was, of late.
#[derive(Debug, Default)]
pub(super) struct Skew(Mutex<VecDeque<Sample>>);

#[derive(Debug)]
struct Sample {
    monotonic_ms: i64,
    durable_offsets: Vec<u64>,
}

impl Skew {
    /// Notes how far the partitions are, in their order.
    pub(super) fn note(&self, monotonic_ms: i64, durable_offsets: Vec<u64>) {
        let mut samples = self.0.lock();
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(Sample { monotonic_ms, durable_offsets });
    }

    /// Records a second that each partition was given; of one that is new, none yet.
    pub(super) fn rates(&self) -> Vec<f64> {
        let samples = self.0.lock();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else {
            return Vec::new();
        };
        let seconds = (last.monotonic_ms - first.monotonic_ms) as f64 / 1e3;
        let rate = |(at, end): (usize, &u64)| {
            let begin = first.durable_offsets.get(at).unwrap_or(end);
            if seconds > 0.0 { end.saturating_sub(*begin) as f64 / seconds } else { 0.0 }
        };
        last.durable_offsets.iter().enumerate().map(rate).collect()
    }

    /// What the busiest partition was given, against an even share: 1 where all are alike, as many
    /// as there are partitions where one was given all, 0 where none was given any.
    pub(super) fn ratio(&self) -> f64 {
        let rates = self.rates();
        let all: f64 = rates.iter().sum();
        let most = rates.iter().copied().fold(0.0, f64::max);
        if all > 0.0 { most * rates.len() as f64 / all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_share_is_one_and_all_on_one_is_their_number() {
        let skew = Skew::default();
        assert_eq!((skew.rates(), skew.ratio()), (vec![], 0.0));
        skew.note(0, vec![100, 100]);
        assert_eq!(skew.ratio(), 0.0);
        skew.note(2_000, vec![120, 120]);
        assert_eq!((skew.rates(), skew.ratio()), (vec![10.0, 10.0], 1.0));
        for n in 1..=10 {
            skew.note(2_000 + n * 2_000, vec![120, 120 + 40 * n as u64, 7]);
        }
        assert_eq!((skew.rates(), skew.ratio()), (vec![0.0, 20.0, 0.0], 3.0));
    }
}
