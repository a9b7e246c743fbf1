//! How good a number is.

use model::{TimeRange, TimestampMs};

use super::Query;

/// How good a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Everything acknowledged before this time is in.
    pub as_of: TimestampMs,
    /// Whether the range ends before the oldest event that is still accepted, so that the number
    /// cannot change any more.
    pub is_final: bool,
}

impl Query {
    /// Now, as the log's clock sees it; the newest append time while that clock is not fit.
    pub fn now(&self) -> TimestampMs {
        let newest = || self.processors.partitions.iter().map(|p| p.append_time()).max();
        self.log.append_time().ok().or_else(newest).unwrap_or_default()
    }

    /// How far the partitions of an item are: rises whenever something is counted in them, or what was
    /// counted is written or corrected. Costs nothing.
    pub fn progress(&self, item: &str) -> u64 {
        self.partitions_of(item).map(|partition| partition.progress()).sum()
    }

    /// The quality of what is read after this call.
    pub(super) fn quality(&self, range: Option<TimeRange>) -> Quality {
        // The clock first, then the log's ends, then what is counted: whatever was acknowledged
        // before the clock was read is below the end that was read after it.
        let mut as_of = self.now();
        for partition in &self.processors.partitions {
            let durable_offset = self.log.bounds(partition.id).durable_offset;
            if partition.next_offset() < durable_offset {
                as_of = as_of.min(partition.append_time());
            }
        }
        let is_final = range.is_some_and(|range| self.is_final_at(range, as_of));
        Quality { as_of, is_final }
    }

    /// Whether no event of a range was accepted any more at a time.
    pub fn is_final_at(&self, range: TimeRange, time: TimestampMs) -> bool {
        range.end.start().0 < time.0.saturating_sub(self.max_event_age_ms)
    }
}
