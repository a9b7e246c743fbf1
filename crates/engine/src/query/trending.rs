//! Items by growth: a window against the one of the same length before it.
//!
//! `score = (count - expected) / sqrt(expected + 10)`, where `expected` is what the window before
//! counted, for as much of its length as has passed of this one. Counts of things that happen by
//! themselves scatter by the square root of what is expected; so the score says by how many standard
//! deviations the window is above chance. The ten under the root keep tiny counts from winning: a
//! first view ever scores 0.3, and it takes thousands of views more to outweigh hundreds of which
//! most are new.

use std::cmp::{Ordering, Reverse};

use model::bucket::MINUTE_MS;
use model::{Granularity, Horizons, Minute, TimeRange, TimestampMs};

use super::top::{Ranking, Split};
use super::{Quality, Query, QueryError};

/// What is added to the expected count where chance is estimated.
const TINY: f64 = 10.0;

/// Items whose counts have grown.
#[derive(Clone, Debug, PartialEq)]
pub struct Trending {
    /// The window that was really covered.
    pub window: TimeRange,
    /// Where the window before began; it ended where this one began.
    pub before_start: Minute,
    /// Highest score first, all above zero.
    pub items: Vec<Trend>,
    /// How good the numbers are.
    pub quality: Quality,
}

/// One item's growth.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// The item.
    pub item: String,
    /// Number of events in the window.
    pub count: u64,
    /// Number of events in the window before.
    pub before: u64,
    /// See the module.
    pub score: f64,
}

impl Query {
    /// The items that grew most in the window of so many minutes that ends with the current minute.
    ///
    /// Where a window reaches back to where minutes are no longer kept, its ends are rounded down to
    /// what is; the windows can differ in length then, which the score takes into account. It reads
    /// every row of both windows: call it off the threads that answer requests.
    pub fn trending(
        &self,
        event_type: &str,
        minutes: u32,
        limit: usize,
    ) -> Result<Trending, QueryError> {
        self.ready()?;
        let end = TimestampMs(self.now().0 + 1).ceil(MINUTE_MS).minute();
        let mut horizons = self.horizons();
        let (cover, pinned, split) = loop {
            let (start, split) = windows(horizons, end, minutes);
            let (cover, pinned) = self.pin_type(event_type, TimeRange { start, end })?;
            // An hour that begins meanwhile moves horizons on, and never back.
            if windows(cover.horizons, end, minutes) == (start, split) {
                break (cover, pinned, split);
            }
            horizons = cover.horizons;
        };
        let window = TimeRange { start: split, end: cover.range.end };
        let before_start = cover.range.start;
        let passed =
            elapsed(window, cover.quality.as_of) / f64::from((split.0 - before_start.0).max(1));
        let asked = Ranking { event_type, cover: &cover, split, limit };
        let rate = |item: String, [before, count]: Split| {
            let score = score(count, before as f64 * passed);
            (score > 0.0).then_some(Trend { item, count, before, score })
        };
        let items = self.rank(&asked, &pinned, rate, by_rank)?;
        Ok(Trending { window, before_start, items, quality: cover.quality })
    }
}

/// Where the window before begins, and where it ends. Both lie between the coarsest buckets that are
/// kept of either window, so that none holds events of both, and neither window is shorter than asked.
fn windows(horizons: Horizons, end: Minute, minutes: u32) -> (Minute, Minute) {
    let mut bucket = 1;
    loop {
        let before = |end: u32| end.saturating_sub(minutes) / bucket * bucket;
        let split = before(end.0);
        let start = Minute(before(split));
        let kept = match horizons.finest(start) {
            Granularity::Minute => 1,
            Granularity::Hour => 60,
            Granularity::Day | Granularity::Total => 24 * 60,
        };
        if kept <= bucket {
            return (start, Minute(split));
        }
        bucket = kept;
    }
}

/// Minutes of the window that have passed, with fractions; at least one.
fn elapsed(window: TimeRange, as_of: TimestampMs) -> f64 {
    let end = window.end.start().min(as_of);
    ((end.0 - window.start.start().0) as f64 / MINUTE_MS as f64).max(1.0)
}

fn score(count: u64, expected: f64) -> f64 {
    (count as f64 - expected) / (expected + TINY).sqrt()
}

fn by_rank(a: &Trend, b: &Trend) -> Ordering {
    let more = b.score.total_cmp(&a.score);
    more.then_with(|| (Reverse(a.count), &a.item).cmp(&(Reverse(b.count), &b.item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_and_tiny_counts_do_not_win() {
        let descending = [
            // From 20 to 400: goes viral.
            score(400, 20.0),
            // New, and much of it.
            score(120, 0.0),
            // 2 % more of very much.
            score(102_000, 100_000.0),
            // New, and hardly any.
            score(2, 0.0),
            score(1, 0.0),
            // As before.
            score(1_000, 1_000.0),
            score(0, 0.0) - 1e-9,
            score(10, 30.0),
        ];
        assert!(descending.is_sorted_by(|a, b| a > b), "{descending:?}");
        assert_eq!(score(1_000, 1_000.0), 0.0);
    }

    #[test]
    fn what_has_not_passed_yet_is_not_expected() {
        let window = TimeRange { start: Minute(100), end: Minute(160) };
        assert_eq!(elapsed(window, Minute(130).start()), 30.0);
        assert_eq!(elapsed(window, Minute(500).start()), 60.0);
        assert_eq!(elapsed(window, Minute(50).start()), 1.0);
    }
}
