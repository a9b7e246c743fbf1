//! One moment of store and memory, and what a range covers at that moment.

use model::aggregate::MemoryTable;
use model::{Horizons, Hour, Minute, StoredRow, Summary, TimeRange};

use super::{Quality, Query, QueryError};
use crate::ports::{CounterSnapshot, ErrorKind, PortError};
use crate::processor::{Partition, Tables};

/// Attempts before giving up on finding a snapshot that memory goes on from, or horizons that stay.
/// Each miss means that two flushes were committed, or an hour began, between two instructions of
/// this thread.
const ATTEMPTS_MAX: usize = 100;

/// A range, rounded to what is still kept of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cover {
    /// What is really covered.
    pub(super) range: TimeRange,
    /// The newest horizons of all partitions that were pinned: nothing in them is kept more
    /// coarsely.
    pub(super) horizons: Horizons,
    /// How good the numbers are.
    pub(super) quality: Quality,
}

/// One partition at one moment.
pub(super) struct Pinned<'a, M> {
    pub(super) partition: &'a Partition,
    pub(super) snapshot: Box<dyn CounterSnapshot>,
    /// What was seen in the memory tables that hold exactly what the snapshot lacks.
    pub(super) memory: M,
}

impl Query {
    /// Rounds a range and pins partitions with what they hold of it in memory.
    ///
    /// An event is judged by the horizons of its place in the log. By those that are the newest when
    /// all partitions are pinned nothing is kept more coarsely than they say.
    pub(super) fn pin_all<'a, M>(
        &self,
        partitions: &[&'a Partition],
        range: TimeRange,
        look: impl Fn(&[&MemoryTable], TimeRange) -> M,
    ) -> Result<(Cover, Vec<Pinned<'a, M>>), QueryError> {
        for _ in 0..ATTEMPTS_MAX {
            let of = |partition: &&Partition| partition.memory.look(|tables| tables.horizons());
            let horizons = partitions.iter().map(of).fold(Horizons::default(), Horizons::newest);
            let range = horizons.round(range);
            let cover = Cover { range, horizons, quality: self.quality(Some(range)) };
            let mut pinned = Vec::with_capacity(partitions.len());
            for &partition in partitions {
                let (snapshot, memory, seen) = self.pin(partition, |tables| look(tables, range))?;
                if horizons.newest(seen) != horizons {
                    break;
                }
                pinned.push(Pinned { partition, snapshot, memory });
            }
            if pinned.len() == partitions.len() {
                return Ok((cover, pinned));
            }
        }
        let context = "the horizons do not stand still: is the clock running wild?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }

    /// Pins a snapshot of the store together with the memory tables that hold exactly what it
    /// lacks, and looks at those while nothing is counted; with the horizons of that moment.
    pub(super) fn pin<R>(
        &self,
        partition: &Partition,
        look: impl Fn(&[&MemoryTable]) -> R,
    ) -> Result<(Box<dyn CounterSnapshot>, R, Horizons), QueryError> {
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.store.snapshot()?;
            let checkpoint = snapshot.checkpoint(partition.id)?.unwrap_or_default();
            let seen = |tables: &Tables| {
                let since = tables.since(checkpoint.next_offset)?;
                Some((look(&since), tables.horizons()))
            };
            if let Some((seen, horizons)) = partition.memory.look(seen) {
                return Ok((snapshot, seen, horizons));
            }
        }
        let context = "store and memory do not meet: is somebody else writing to this store?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }
}

impl Cover {
    /// The days in the range that can have day rows.
    pub(super) fn days(&self) -> std::ops::Range<u32> {
        let day = |minute: u32| minute.div_ceil(24 * 60);
        day(self.range.start.0)..day(self.range.end.0).min(self.horizons.hour().0)
    }

    /// Calls `each` for the cells of an hour row that lie in the range. Below the minute horizon
    /// the whole hour counts at its start.
    pub(super) fn for_each_cell(
        &self,
        hour: Hour,
        row: &StoredRow,
        each: &mut impl FnMut(Minute, &Summary),
    ) {
        if hour < self.horizons.minute() {
            return each(hour.minute(0), &row.summary());
        }
        for cell in &row.cells {
            let minute = hour.minute(cell.slot);
            if self.range.contains(minute) {
                each(minute, &cell.summary);
            }
        }
    }
}
