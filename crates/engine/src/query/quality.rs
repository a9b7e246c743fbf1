//! How good a number is.

use std::sync::Arc;

use model::{Horizons, TimeRange, TimestampMs};

use super::Query;
use crate::answers::{SETTLED_MS, Standing};
use crate::processor::{Partition, Tables};

/// An answer of counters that others flush is of some seconds ago, by the clocks of several machines. One that
/// is older says so.
const BEHIND_MS: i64 = 15_000;

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
        // Where nothing is known of routing, asking again tells.
        let partitions = self.partitions_of(item).unwrap_or_default();
        partitions.iter().map(|partition| partition.progress()).sum()
    }

    /// The quality of what is read after this call.
    pub(super) fn quality(&self, range: Option<TimeRange>) -> Quality {
        // The clock first, then the log's ends, then what is counted: whatever was acknowledged
        // before the clock was read is below the end that was read after it.
        let now = self.now();
        let complete = |partition: &Arc<Partition>| {
            partition.complete_until(now, self.log.bounds(partition.id).durable_offset)
        };
        let as_of = self.processors.partitions.iter().map(complete).fold(now, TimestampMs::min);
        let is_final = range.is_some_and(|range| self.is_final_at(range, as_of));
        Quality { as_of, is_final }
    }

    /// What an answer about a range depends on now. Whatever is counted after this call has begun is
    /// counted in an answer that is made after it, or makes another standing.
    pub(crate) fn standing(&self, range: TimeRange) -> Standing {
        let corrections = self.corrections();
        let (mut counted, mut horizons) = (0_u64, Horizons::default());
        for partition in self.processors.partitions.iter() {
            // From memory itself: what is published comes a moment after a question can see it.
            let seen = |tables: &Tables| (tables.active.next_offset(), tables.horizons());
            let (next_offset, of_partition) = partition.memory.look(seen);
            counted = counted.wrapping_add(next_offset.0);
            horizons = horizons.newest(of_partition);
        }
        let range = horizons.round(range);
        let epoch = |p: &Arc<Partition>| u64::from(self.log.bounds(p.id).log_epoch);
        let (now, as_of) = (self.now(), self.quality(None).as_of);
        let settled = TimestampMs(as_of.0.saturating_sub(SETTLED_MS));
        Standing {
            range,
            finest: horizons.finest(range.start),
            now,
            is_settled: self.is_final_at(range, settled),
            counted,
            log_epochs: self.processors.partitions.iter().map(epoch).sum(),
            corrections,
        }
    }

    /// The newest horizons of all partitions.
    pub(super) fn horizons(&self) -> Horizons {
        let of = |p: &Arc<Partition>| p.memory.look(|tables| tables.horizons());
        self.processors.partitions.iter().map(of).fold(Horizons::default(), Horizons::newest)
    }

    /// Which corrections are in the rows: any two processes whose answers may differ by a correction say
    /// different things. None while rows are being corrected.
    pub(crate) fn corrections(&self) -> Option<u64> {
        let mut all = 0_u64;
        for (at, partition) in (1_u64..).zip(self.processors.partitions.iter()) {
            let until = partition.corrections()?;
            // A partition that was added and never corrected changes nothing.
            if until > 0 {
                all = all.wrapping_add(scattered((at << 48) ^ until));
            }
        }
        Some(all)
    }

    /// Whether those who count have not flushed for longer than that takes, or cannot be seen to: answers that
    /// are made now are of then.
    pub fn is_behind(&self) -> bool {
        let now = self.processors.ports.clock.now().wall;
        let is_old = |time: TimestampMs| now.0.saturating_sub(time.0) > BEHIND_MS;
        // What has come just now, after a long time in which nothing did, is not late.
        let is_behind = |partition: &Arc<Partition>| {
            partition.behind_for_ms() > BEHIND_MS as u64 && is_old(partition.append_time())
        };
        let mut partitions = self.processors.partitions.iter();
        self.processors.follows() && (is_old(self.now()) || partitions.any(is_behind))
    }

    /// Whether counters cannot be read now, as far as is known without asking.
    pub fn is_store_away(&self) -> bool {
        self.processors.is_store_away()
    }

    /// Whether no event of a range was accepted any more at a time.
    pub fn is_final_at(&self, range: TimeRange, time: TimestampMs) -> bool {
        range.end.start().0 < time.0.saturating_sub(self.max_event_age_ms)
    }
}

/// Numbers that add up alike only where they are the same.
fn scattered(number: u64) -> u64 {
    let number = (number ^ (number >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 29)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    number ^ (number >> 32)
}
