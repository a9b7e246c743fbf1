//! One moment of store and memory, and what a range covers at that moment.

use std::hash::Hash;
use std::sync::Arc;

use model::aggregate::MemoryTable;
use model::{Cell, Checkpoint, Day, Horizons, Hour, Minute, StoredRow, Summary, TimeRange};

use super::ahead::Ahead;
use super::{Quality, Query, QueryError};
use crate::ports::{ColdCounters, CounterSnapshot, ErrorKind, PortError};
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
    /// The first day whose hour rows count, in all snapshots that were pinned.
    pub(super) cold_until: Day,
    /// How good the numbers are.
    pub(super) quality: Quality,
}

/// One partition at one moment.
pub(super) struct Pinned<'a, M> {
    pub(super) partition: &'a Partition,
    /// Often that of other partitions, too.
    pub(super) snapshot: Arc<dyn CounterSnapshot>,
    /// How far the snapshot is. A row that is further has a part of the memory, see [`Ahead`].
    pub(super) checkpoint: Checkpoint,
    /// What was seen in the memory tables that hold exactly what is not in the checkpoint.
    pub(super) memory: M,
}

/// Where store and memory of a partition meet.
struct Met<R> {
    /// Of the store.
    checkpoint: Checkpoint,
    /// What was seen in the memory tables that begin there.
    memory: R,
    /// The horizons of that moment.
    horizons: Horizons,
}

/// One snapshot, and of each partition its checkpoint and what was seen in memory beside it.
pub(super) type Together<R> = (Box<dyn CounterSnapshot>, Vec<(Checkpoint, R)>);

impl<M> Pinned<'_, M> {
    /// For the rows that are read of it.
    pub(super) fn ahead<K: Eq + Hash>(&self) -> Ahead<K> {
        Ahead::of(&self.checkpoint)
    }
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
            let quality = self.quality(Some(range));
            let mut pinned = Vec::with_capacity(partitions.len());
            let shared: Arc<dyn CounterSnapshot> = Arc::from(self.store.snapshot()?);
            let cold_until = shared.cold_until()?;
            for &partition in partitions {
                let look = |tables: &[&MemoryTable]| look(tables, range);
                let (snapshot, met) = match meet(partition, &*shared, &look)? {
                    Some(met) => (shared.clone(), met),
                    // It was flushed since.
                    None => self.pin(partition, look)?,
                };
                let is_as_cold =
                    Arc::ptr_eq(&snapshot, &shared) || snapshot.cold_until()? == cold_until;
                if horizons.newest(met.horizons) != horizons || !is_as_cold {
                    break;
                }
                let Met { checkpoint, memory, .. } = met;
                pinned.push(Pinned { partition, snapshot, checkpoint, memory });
            }
            if pinned.len() == partitions.len() {
                return Ok((Cover { range, horizons, cold_until, quality }, pinned));
            }
        }
        let context = "the horizons do not stand still: is the clock running wild?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }

    /// Whether a range begins where only days are kept, so that some may be in files.
    pub fn reaches_days(&self, range: TimeRange) -> bool {
        let horizon = |p: &Arc<Partition>| p.memory.look(|tables| tables.horizons().hour());
        let newest = self.processors.partitions.iter().map(horizon).max();
        newest.is_some_and(|newest| range.start.hour().day() < newest)
    }

    /// The files of the cold days that a question covers; none where it covers no such day.
    ///
    /// # Errors
    /// Where the archive is not there or lacks days: to answer without them would be wrong.
    pub(super) fn cold_files(
        &self,
        cover: &Cover,
    ) -> Result<Option<&dyn ColdCounters>, QueryError> {
        if cover.cold_days().is_empty() {
            return Ok(None);
        }
        let until = cover.cold_until;
        let missing = |kind, what: &str| {
            let context = format!(
                "the days before {} are in the archive, and {what}: start the server with the \
                 archive that it had",
                until.start()
            );
            PortError::new(kind, context)
        };
        let Some(cold) = self.cold.as_deref() else {
            return Err(missing(ErrorKind::Unavailable, "this server has none").into());
        };
        // The store may have said so a moment after this process last asked what there is.
        if cold.until()? < until && !(cold.refresh()? && cold.until()? >= until) {
            return Err(missing(ErrorKind::Corrupt, "it lacks some of them").into());
        }
        Ok(Some(cold))
    }

    /// Pins a snapshot of the store together with the memory tables that hold exactly what it
    /// lacks, and looks at those while nothing is counted.
    fn pin<R>(
        &self,
        partition: &Partition,
        look: impl Fn(&[&MemoryTable]) -> R,
    ) -> Result<(Arc<dyn CounterSnapshot>, Met<R>), QueryError> {
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.store.snapshot()?;
            if let Some(met) = meet(partition, &*snapshot, &look)? {
                return Ok((Arc::from(snapshot), met));
            }
        }
        let context = "store and memory do not meet: is somebody else writing to this store?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }
}

impl Query {
    /// As [`Query::pin`], of several partitions by one snapshot; each with its checkpoint.
    pub(super) fn pin_together<R>(
        &self,
        partitions: &[&Partition],
        look: impl Fn(&Partition, &[&MemoryTable]) -> R,
    ) -> Result<Together<R>, QueryError> {
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.store.snapshot()?;
            let mut seen = Vec::with_capacity(partitions.len());
            for partition in partitions {
                let checkpoint = snapshot.checkpoint(partition.id)?.unwrap_or_default();
                partition.follow(&checkpoint);
                let looked = partition.memory.look(|tables: &Tables| {
                    Some(look(partition, &tables.since(checkpoint.next_offset)?))
                });
                let Some(looked) = looked else { break };
                seen.push((checkpoint, looked));
            }
            if seen.len() == partitions.len() {
                return Ok((snapshot, seen));
            }
        }
        let context = "store and memory do not meet: is somebody else writing to this store?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }
}

/// Looks at the memory tables that hold exactly what a snapshot lacks of a partition, with the
/// horizons of that moment; none where some of it was flushed since.
fn meet<R>(
    partition: &Partition,
    snapshot: &dyn CounterSnapshot,
    look: &impl Fn(&[&MemoryTable]) -> R,
) -> Result<Option<Met<R>>, PortError> {
    let checkpoint = snapshot.checkpoint(partition.id)?.unwrap_or_default();
    partition.follow(&checkpoint);
    Ok(partition.memory.look(|tables: &Tables| {
        let since = tables.since(checkpoint.next_offset)?;
        Some(Met { checkpoint, memory: look(&since), horizons: tables.horizons() })
    }))
}

impl Cover {
    /// The days in the range that can have day rows.
    pub(super) fn days(&self) -> std::ops::Range<u32> {
        let day = |minute: u32| minute.div_ceil(24 * 60);
        day(self.range.start.0)..day(self.range.end.0).min(self.horizons.hour().0)
    }

    /// The hours in the range whose rows count.
    pub(super) fn hours(&self) -> std::ops::Range<u32> {
        let hours = self.range.hours();
        hours.start.max(self.cold_until.0 * 24)..hours.end
    }

    /// The days in the range whose hours are in cold files. All of them lie below the hour horizon,
    /// so that the range holds them wholly.
    pub(super) fn cold_days(&self) -> std::ops::Range<u32> {
        let day = |minute: u32| minute.div_ceil(24 * 60);
        day(self.range.start.0)..day(self.range.end.0).min(self.cold_until.0)
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
            // A store that forgets minutes by itself may have done so early: the hour counts at its start.
            let minute = hour.minute(cell.slot % Cell::WHOLE);
            if self.range.contains(minute) {
                each(minute, &cell.summary);
            }
        }
    }
}
