//! Write timestamps made of places in the log, so that an older write loses by itself.
//!
//! ```text
//! stamp     = log_epoch << 43 | next_offset       20 bits and 43 bits
//! timestamp = stamp - (2^63 - 2)                  always below any time of a clock
//! ```
//!
//! Timestamps are below zero because some servers refuse those that lie in the future. They are compared
//! only with each other: a column is written either with them or by lightweight transactions, never
//! by both.

use engine::ports::{ErrorKind, PortError};
use model::Checkpoint;

const OFFSET_BITS: u32 = 43;
const EPOCH_BITS: u32 = 20;
const _: () = assert!(OFFSET_BITS + EPOCH_BITS == 63);

/// A place in a log, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteStamp(i64);

impl WriteStamp {
    /// Of what a checkpoint has counted.
    ///
    /// # Errors
    /// `Invalid` where epoch or offset are greater than there is room for: a log that was opened a
    /// million times, or holds eight trillion records in a partition.
    pub(super) fn of(checkpoint: &Checkpoint) -> Result<Self, PortError> {
        let (epoch, offset) = (checkpoint.log_epoch, checkpoint.next_offset.0);
        if epoch >> EPOCH_BITS != 0 || offset >> OFFSET_BITS != 0 {
            let context = format!(
                "offset {offset} of log epoch {epoch} is beyond what rows on Cassandra can be \
                 stamped with"
            );
            return Err(PortError::new(ErrorKind::Invalid, context));
        }
        Ok(Self(i64::from(epoch) << OFFSET_BITS | offset as i64))
    }

    /// As it is kept in a column.
    pub(super) fn number(self) -> i64 {
        self.0
    }

    /// The timestamp to write with.
    pub(super) fn timestamp(self) -> i64 {
        self.0 - (i64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use model::Offset;

    use super::*;

    fn stamp(log_epoch: u32, next: u64) -> Result<WriteStamp, PortError> {
        let next_offset = Offset(next);
        WriteStamp::of(&Checkpoint { log_epoch, next_offset, ..Checkpoint::default() })
    }

    #[test]
    fn golden_numbers() {
        let stamp = stamp(3, 258).unwrap();
        assert_eq!(stamp.number(), (3 << 43) + 258);
        assert_eq!(stamp.timestamp(), (3 << 43) + 258 - 9_223_372_036_854_775_806);
    }

    #[test]
    fn epochs_come_before_offsets_and_no_clock_is_as_early() {
        let (most, last) = ((1 << EPOCH_BITS) - 1, (1 << OFFSET_BITS) - 1);
        let all = [(0, 0), (0, 1), (0, last), (1, 0), (1, 7), (2, 3), (most, last)];
        let stamps: Vec<_> = all.map(|(epoch, next)| stamp(epoch, next).unwrap()).into();
        assert!(stamps.is_sorted_by(|a, b| a < b && a.timestamp() < b.timestamp()));
        assert!(stamps.iter().all(|stamp| stamp.timestamp() <= 1 && stamp.number() >= 0));
        assert_eq!(stamps[0].timestamp(), i64::MIN + 2);
        for (epoch, next) in [(most + 1, 0), (0, last + 1), (u32::MAX, u64::MAX)] {
            assert_eq!(stamp(epoch, next).unwrap_err().kind, ErrorKind::Invalid);
        }
    }
}
