//! What is kept in memory of each partition: its checkpoint and the hours and days it has rows in.

use std::collections::BTreeSet;
use std::ops::Range;

use engine::ports::{ErrorKind, PortError};
use fjall::Keyspace;
use model::limits::PARTITIONS_MAX;
use model::{Checkpoint, Day, Hour, PartitionId};
use parking_lot::{Mutex, RwLock};

use super::row::{self, Damage};
use super::{damaged, keys, read_failure};

/// Every partition there can be.
pub(super) struct Partitions(Box<[Partition]>);

/// One partition.
#[derive(Default)]
pub(super) struct Partition {
    /// The stored checkpoint; held while a flush is under way, so that they come one by one.
    pub(super) checkpoint: Mutex<Option<Checkpoint>>,
    /// A superset of the hours with rows: an hour is added before its first row is written.
    hours: RwLock<BTreeSet<u32>>,
    /// The same of days.
    days: RwLock<BTreeSet<u32>>,
}

impl Partitions {
    /// Reads what is stored. Costs a seek for each hour and day of each partition.
    pub(super) fn load(rows: &Keyspace) -> Result<Self, PortError> {
        let partitions: Box<[Partition]> =
            (0..PARTITIONS_MAX).map(|_| Partition::default()).collect();
        for (id, partition) in (0..).map(PartitionId).zip(&partitions) {
            // What has rows has a checkpoint.
            let key = keys::checkpoint(id);
            let Some(bytes) = rows.get(key).map_err(read_failure)? else { continue };
            let checkpoint = row::read_checkpoint(&bytes).map_err(|d| damaged(&key, d))?;
            *partition.checkpoint.lock() = Some(checkpoint);
            seek_each(rows, keys::hour_head(id, Hour(0)), keys::hours_end(id), |key| {
                let (_, hour) = keys::partition_and_hour(key)?;
                partition.add_hour(hour);
                Ok(keys::after_hour(id, hour))
            })?;
            seek_each(rows, keys::day_head(id, Day(0)), keys::days_end(id), |key| {
                let (_, day) = keys::partition_and_day(key)?;
                partition.add_day(day);
                Ok(keys::after_day(id, day))
            })?;
        }
        let partitions = Self(partitions);
        Ok(partitions)
    }

    /// The partition of this id.
    pub(super) fn get(&self, id: PartitionId) -> Result<&Partition, PortError> {
        self.0.get(usize::from(id.0)).ok_or_else(|| {
            let context = format!("partition {id} is beyond the {PARTITIONS_MAX} there can be");
            PortError::new(ErrorKind::Invalid, context)
        })
    }
}

impl Partition {
    pub(super) fn add_hour(&self, hour: Hour) {
        add(&self.hours, hour.0);
    }

    pub(super) fn add_day(&self, day: Day) {
        add(&self.days, day.0);
    }

    /// The hours within the range that may have rows, in order.
    pub(super) fn hours(&self, range: Range<u32>) -> Vec<Hour> {
        within(&self.hours, range).into_iter().map(Hour).collect()
    }

    /// The days within the range that may have rows, in order.
    pub(super) fn days(&self, range: Range<u32>) -> Vec<Day> {
        within(&self.days, range).into_iter().map(Day).collect()
    }
}

/// Calls `each` with the first key from `from` on and before `end`, and goes on where it says.
fn seek_each<const N: usize>(
    rows: &Keyspace,
    mut from: [u8; N],
    end: [u8; 3],
    mut each: impl FnMut(&[u8]) -> Result<[u8; N], Damage>,
) -> Result<(), PortError> {
    while let Some(first) = rows.range(&from[..]..&end[..]).next() {
        let key = first.key().map_err(read_failure)?;
        from = each(&key).map_err(|damage| damaged(&key, damage))?;
    }
    Ok(())
}

fn add(numbers: &RwLock<BTreeSet<u32>>, number: u32) {
    if !numbers.read().contains(&number) {
        numbers.write().insert(number);
    }
}

fn within(numbers: &RwLock<BTreeSet<u32>>, range: Range<u32>) -> Vec<u32> {
    if range.is_empty() {
        return Vec::new();
    }
    numbers.read().range(range).copied().collect()
}
