//! Horizons: from where on minutes and hours are kept. They follow log time and never go back, so
//! that which granularity counts an event is a function of the log and nothing else.

use crate::bucket::{
    DAY_MS, Day, Granularity, HOUR_MS, Hour, Minute, TIME_MAX, TimeRange, TimestampMs,
};
use crate::slot::Slot;

/// How long numbers are kept in each granularity. Days and totals are kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    minute_ms: i64,
    hour_ms: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self::FOREVER
    }
}

impl Retention {
    /// Everything is kept to the minute: what holds in a log that does not say otherwise yet.
    pub const FOREVER: Self = Self { minute_ms: i64::MAX, hour_ms: i64::MAX };

    /// Minutes and hours for so many milliseconds; none where one is negative, or hours would go
    /// before their minutes.
    pub fn new(minute_ms: i64, hour_ms: i64) -> Option<Self> {
        (0 <= minute_ms && minute_ms <= hour_ms).then_some(Self { minute_ms, hour_ms })
    }

    /// How long minutes are kept, in milliseconds.
    pub fn minute_ms(self) -> i64 {
        self.minute_ms
    }

    /// How long hours are kept, in milliseconds.
    pub fn hour_ms(self) -> i64 {
        self.hour_ms
    }
}

/// From where on minutes and hours are kept. Below the minute horizon events count to the hour,
/// below the hour horizon to the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizons {
    minute: Hour,
    hour: Day,
}

impl Horizons {
    /// Both horizons; none where hours would go before their minutes.
    pub fn new(minute: Hour, hour: Day) -> Option<Self> {
        (u64::from(hour.0) * 24 <= u64::from(minute.0)).then_some(Self { minute, hour })
    }

    /// The first hour whose minutes are kept.
    pub fn minute(self) -> Hour {
        self.minute
    }

    /// The first day whose hours are kept.
    pub fn hour(self) -> Day {
        self.hour
    }

    /// Moves on to an append time.
    pub fn advance(&mut self, append_time: TimestampMs, retention: Retention) {
        let bucket = |retention_ms: i64, bucket_ms: i64| {
            let kept_from = append_time.0.saturating_sub(retention_ms).clamp(0, TIME_MAX.0);
            u32::try_from(kept_from / bucket_ms).unwrap_or(0)
        };
        self.minute = self.minute.max(Hour(bucket(retention.minute_ms, HOUR_MS)));
        self.hour = self.hour.max(Day(bucket(retention.hour_ms, DAY_MS)));
    }

    /// The newer of each.
    pub fn newest(self, other: Self) -> Self {
        Self { minute: self.minute.max(other.minute), hour: self.hour.max(other.hour) }
    }

    /// Where an event of this minute counts.
    pub fn slot(self, minute: Minute) -> Slot {
        let hour = minute.hour();
        if hour >= self.minute {
            Slot::minute(minute)
        } else if hour.day() >= self.hour {
            Slot::hour(hour)
        } else {
            Slot::day(hour.day())
        }
    }

    /// The finest granularity in which everything from a minute on is kept.
    pub fn finest(self, from: Minute) -> Granularity {
        if from.hour() >= self.minute {
            Granularity::Minute
        } else if from.hour().day() >= self.hour {
            Granularity::Hour
        } else {
            Granularity::Day
        }
    }

    /// The range rounded outwards to what is still kept at either end.
    pub fn round(self, range: TimeRange) -> TimeRange {
        if range.start >= range.end {
            return range;
        }
        let minutes = |from: Minute| match self.finest(from) {
            Granularity::Minute => 1,
            Granularity::Hour => 60,
            Granularity::Day | Granularity::Total => 24 * 60,
        };
        let last = Minute(range.end.0 - 1);
        let (down, up) = (minutes(range.start), minutes(last));
        TimeRange {
            start: Minute(range.start.0 / down * down),
            end: Minute(range.end.0.div_ceil(up).saturating_mul(up)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RETENTION: Retention = Retention { minute_ms: 3 * HOUR_MS, hour_ms: 2 * DAY_MS };

    fn at(append_ms: i64) -> Horizons {
        let mut horizons = Horizons::default();
        horizons.advance(TimestampMs(append_ms), RETENTION);
        horizons
    }

    #[test]
    fn horizons_are_rounded_down_and_never_go_back() {
        let mut horizons = at(10 * DAY_MS + 5 * HOUR_MS + 7);
        assert_eq!((horizons.minute(), horizons.hour()), (Hour(242), Day(8)));
        let before = horizons;
        horizons.advance(TimestampMs(9 * DAY_MS), RETENTION);
        horizons.advance(TimestampMs(11 * DAY_MS), Retention::FOREVER);
        horizons.advance(TimestampMs(i64::MIN), RETENTION);
        assert_eq!(horizons, before);
        let nothing_kept = Retention::new(0, 0).unwrap();
        horizons.advance(TimestampMs(11 * DAY_MS), nothing_kept);
        assert_eq!((horizons.minute(), horizons.hour()), (Hour(264), Day(11)));
    }

    #[test]
    fn hours_do_not_go_before_minutes() {
        assert_eq!(Retention::new(2, 1), None);
        assert_eq!(Retention::new(-1, 1), None);
        assert!(Retention::new(1, 1).is_some());
        assert_eq!(Horizons::new(Hour(47), Day(2)), None);
        assert_eq!(Horizons::new(Hour(u32::MAX), Day(u32::MAX)), None);
        assert!(Horizons::new(Hour(48), Day(2)).is_some());
    }

    #[test]
    fn all_time_stays_all_time() {
        assert_eq!(at(10 * DAY_MS).round(TimeRange::ALL), TimeRange::ALL);
        assert_eq!(Horizons::default().round(TimeRange::ALL), TimeRange::ALL);
    }

    proptest! {
        /// A rounded range holds a slot wholly or not at all, and no more slots than it must.
        #[test]
        fn a_rounded_range_cuts_no_slot(append in 0i64..20 * DAY_MS, start in 0u32..29_000, len in 1u32..5_000) {
            let horizons = at(append);
            prop_assert!(Horizons::new(horizons.minute(), horizons.hour()).is_some());
            let asked = TimeRange { start: Minute(start), end: Minute(start + len) };
            let range = horizons.round(asked);
            prop_assert!(range.start <= asked.start && asked.end <= range.end);
            for minute in range.start.0.saturating_sub(3_000)..range.end.0 + 3_000 {
                let slot = horizons.slot(Minute(minute));
                prop_assert_eq!(range.contains(Minute(minute)), range.contains(slot.start()));
            }
            let first = horizons.slot(asked.start).start();
            let last = horizons.slot(Minute(asked.end.0 - 1));
            prop_assert_eq!(range.start, first);
            prop_assert_eq!(horizons.slot(Minute(range.end.0 - 1)), last);
        }
    }
}
