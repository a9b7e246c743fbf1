//! Rows that have counted beyond the checkpoint that a question pinned.
//!
//! A store over many machines writes a flush row by row. A question that has pinned a checkpoint and looked
//! at the memory from there on may then read a row of the flush that was under way, or of a later one. Such
//! a row counts everything up to its own stamp, so of the memory only what comes from there on is added to
//! it. Flushes and memory tables end at the same offsets, so a table is in the row wholly or not at all;
//! of one that still counted when it was looked at, the row has all that was seen and more.

use std::collections::HashMap;
use std::hash::Hash;

use model::slot::SlotPlace;
use model::{Checkpoint, Day, Hour, Offset, Slot, StoredRow};

/// A row of an item and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowOf {
    /// Of an hour.
    Hour(Hour),
    /// Of what of a day came when its hours were no longer kept.
    Day(Day),
    /// Of all time.
    All,
}

impl From<Slot> for RowOf {
    fn from(slot: Slot) -> Self {
        match slot.place() {
            SlotPlace::Hour(hour, _) => Self::Hour(hour),
            SlotPlace::Day(day) => Self::Day(day),
        }
    }
}

/// The rows of one partition that were read and are ahead, by what the question calls them: as many as
/// have been flushed since it began, at most. None on a store whose snapshots see whole flushes.
pub(super) struct Ahead<K> {
    checkpoint: (u32, Offset),
    rows: HashMap<K, Offset>,
}

impl<K: Eq + Hash> Ahead<K> {
    /// Of a partition at a checkpoint.
    pub(super) fn of(checkpoint: &Checkpoint) -> Self {
        let checkpoint = (checkpoint.log_epoch, checkpoint.next_offset);
        Self { checkpoint, rows: HashMap::new() }
    }

    /// Of the same partition, with no row.
    pub(super) fn fresh(&self) -> Self {
        Self { checkpoint: self.checkpoint, rows: HashMap::new() }
    }

    /// Takes the rows that another has noted of the same partition.
    pub(super) fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// Notes a row that was read, under a key that is made only where the row is ahead.
    pub(super) fn note(&mut self, row: &StoredRow, key: impl FnOnce() -> K) {
        if (row.stamp.log_epoch, row.stamp.next_offset) > self.checkpoint {
            self.rows.insert(key(), row.stamp.next_offset);
        }
    }

    /// Whether what a memory table counted, from its first offset on, is not in the row of a key.
    pub(super) fn lacks(&self, from: Offset, key: impl FnOnce() -> K) -> bool {
        self.rows.is_empty() || self.rows.get(&key()).is_none_or(|next| from >= *next)
    }
}

#[cfg(test)]
mod tests {
    use model::Stamp;

    use super::*;

    fn row(log_epoch: u32, next: u64) -> StoredRow {
        let (base_offset, next_offset) = (Offset(0), Offset(next));
        let stamp = Stamp { log_epoch, base_offset, next_offset };
        StoredRow { stamp, ..StoredRow::default() }
    }

    #[test]
    fn a_row_ahead_has_the_tables_before_its_stamp() {
        let checkpoint = Checkpoint { log_epoch: 2, next_offset: Offset(7), ..Default::default() };
        let mut ahead = Ahead::of(&checkpoint);
        let lacks = |ahead: &Ahead<u8>, from, key| ahead.lacks(Offset(from), || key);
        for (key, row) in [(0, row(2, 7)), (1, row(1, 90)), (2, row(2, 9)), (3, row(3, 12))] {
            ahead.note(&row, || key);
        }
        assert!([0, 1].iter().all(|key| lacks(&ahead, 7, *key) && lacks(&ahead, 9, *key)));
        assert_eq!([7, 9, 12].map(|from| lacks(&ahead, from, 2)), [false, true, true]);
        assert_eq!([7, 9, 12].map(|from| lacks(&ahead, from, 3)), [false, false, true]);
        assert!(lacks(&ahead, 7, 4), "a row that was not read");
    }
}
