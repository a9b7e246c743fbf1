//! Questions: the store and the memory tables added, so that each event is seen exactly once.

mod ahead;
mod cover;
mod explain;
mod leading;
mod quality;
mod report;
mod scan;
mod top;
mod trending;

use std::sync::Arc;

use ahead::{Ahead, RowOf};
use cover::{Cover, Pinned};
use model::bucket::MINUTE_MS;
use model::counter::RowKey;
use model::limits::SERIES_POINTS_MAX;
use model::{
    Checkpoint, Day, Granularity, Minute, Offset, PartitionId, Slot, StoredRow, Summary, TimeRange,
    TimestampMs,
};

use crate::ports::{ColdCounters, CounterStore, ErrorKind, EventLog, PortError};
use crate::processor::{Partition, Processors, TableTotal};
use crate::routing::Routing;

pub use explain::{Explained, MemoryPart, PartitionParts, RowsKind, RowsPart};
pub use quality::Quality;
pub use report::Report;
pub use scan::{CounterPart, CounterScope, EachPart, ScanHead};
pub use top::Top;
pub use trending::{Trend, Trending};

/// A partition with the slots that an item has in its memory, each with the first offset of its table.
type PinnedItem<'a> = Pinned<'a, Vec<(Offset, Slot, Summary)>>;

/// What an item and type have in each memory table, with the first offset of the table.
type InTables = Vec<(Offset, Summary)>;

/// Answers questions. Cheap to share; its functions are synchronous and read storage.
pub struct Query {
    log: Arc<dyn EventLog>,
    store: Arc<dyn CounterStore>,
    processors: Arc<Processors>,
    routing: Arc<Routing>,
    max_event_age_ms: i64,
    cold: Option<Arc<dyn ColdCounters>>,
    reads_afar: bool,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The log has not been replayed to the end it had at start.
    #[error("the server is still replaying its log: {0} events to go")]
    NotReady(u64),
    /// A partition stopped, so that the numbers would stand still without saying so.
    #[error("partition {0} has stopped; the server's log says why")]
    PartitionStopped(u16),
    /// More points or rows than an answer may have.
    #[error("the answer would have {points} points; at most {max} are given")]
    TooManyPoints {
        /// What was asked for.
        points: u64,
        /// What is allowed.
        max: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// The numbers of one item and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The range that was really covered; none for the total.
    pub range: Option<TimeRange>,
    /// Over the range.
    pub summary: Summary,
    /// How good they are.
    pub quality: Quality,
}

/// Numbers by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The range that was really covered.
    pub range: TimeRange,
    /// The step asked for, or a coarser one where the range reaches back to where that is no longer
    /// kept.
    pub step: Granularity,
    /// Over the whole range.
    pub total: Summary,
    /// Start of each bucket of the range and its numbers, none left out. A bucket at an end of the
    /// range holds only what lies in the range. Empty for [`Granularity::Total`].
    pub points: Vec<(TimestampMs, Summary)>,
    /// How good they are.
    pub quality: Quality,
}

impl Query {
    /// Over the processors' memory and the store they flush to.
    pub fn new(processors: Arc<Processors>, max_event_age_ms: i64) -> Self {
        let (log, store) = (Arc::clone(&processors.ports.log), Arc::clone(&processors.ports.store));
        let routing = Arc::new(Routing::fixed(log.clone()));
        let (cold, reads_afar) = (None, false);
        Self { log, store, processors, routing, max_event_age_ms, cold, reads_afar }
    }

    /// With the table that the gateways route by; without, every item went by its name alone.
    pub fn with_routing(self, routing: Arc<Routing>) -> Self {
        Self { routing, ..self }
    }

    /// With the files of cold days.
    pub fn with_cold(self, cold: Option<Arc<dyn ColdCounters>>) -> Self {
        Self { cold, ..self }
    }

    /// With a store whose rows are on other machines, or not.
    pub fn reading_afar(self, reads_afar: bool) -> Self {
        Self { reads_afar, ..self }
    }

    /// Whether any question waits for other machines: none is short then.
    pub fn reads_afar(&self) -> bool {
        self.reads_afar
    }

    /// Whether questions can be answered now.
    pub fn ready(&self) -> Result<(), QueryError> {
        if let Some(partition) = self.processors.ports.admission.stopped_partition() {
            return Err(QueryError::PartitionStopped(partition));
        }
        match self.processors.partitions.iter().map(|p| p.replay_left()).sum() {
            0 => Ok(()),
            left => Err(QueryError::NotReady(left)),
        }
    }

    /// The total of an item and type, or what lies in a range.
    pub fn count(
        &self,
        item: &str,
        event_type: &str,
        range: Option<TimeRange>,
    ) -> Result<Counted, QueryError> {
        self.ready()?;
        let Some(range) = range else {
            let quality = self.quality(None);
            let summary = self.item_total(item, event_type)?;
            return Ok(Counted { range: None, summary, quality });
        };
        let (cover, pinned) = self.pin_item(item, event_type, range)?;
        let mut summary = Summary::EMPTY;
        let cold = self.cold_files(&cover)?;
        for_each_part(&cover, &pinned, cold, item, event_type, |_, part| summary.add(part))?;
        Ok(Counted { range: Some(cover.range), summary, quality: cover.quality })
    }

    /// The numbers of an item and type by bucket.
    pub fn series(
        &self,
        item: &str,
        event_type: &str,
        range: TimeRange,
        step: Granularity,
    ) -> Result<Series, QueryError> {
        self.ready()?;
        let mut total = Summary::EMPTY;
        if step == Granularity::Total && range == TimeRange::ALL {
            let quality = self.quality(Some(range));
            let total = self.item_total(item, event_type)?;
            return Ok(Series { range, step, total, points: Vec::new(), quality });
        }
        let (cover, pinned) = self.pin_item(item, event_type, range)?;
        let Cover { range, quality, .. } = cover;
        // What is kept more coarsely than asked for would stand in one bucket and lack in others.
        let step = step.max(cover.horizons.finest(range.start));
        let mut points = Vec::new();
        let step_minutes = step.millis().map(|millis| (millis / MINUTE_MS) as u32);
        if let Some(step_minutes) = step_minutes {
            points = buckets(range, step_minutes)?;
        }
        let cold = self.cold_files(&cover)?;
        for_each_part(&cover, &pinned, cold, item, event_type, |minute, part| {
            if let Some(step_minutes) = step_minutes {
                let at = minute.0 / step_minutes - range.start.0 / step_minutes;
                points[at as usize].1.add(part);
            }
            total.add(part);
        })?;
        Ok(Series { range, step, total, points, quality })
    }

    /// The totals of many items, in the order asked, all of the same moment.
    pub fn totals(
        &self,
        items: &[&str],
        event_type: &str,
    ) -> Result<(Vec<Summary>, Quality), QueryError> {
        self.ready()?;
        let quality = self.quality(None);
        let mut totals = vec![Summary::EMPTY; items.len()];
        let mine = self.by_partition(items)?;
        let partitions: Vec<&Partition> = mine.iter().map(|(partition, _)| *partition).collect();
        let (snapshot, in_memory) = self.pin_together(&partitions, |partition, tables| {
            let of = |at: usize| (at, memory_total(tables, items[at], event_type));
            let counted = mine.iter().find(|(other, _)| other.id == partition.id);
            counted.map_or_else(Vec::new, |(_, counted)| counted.iter().copied().map(of).collect())
        })?;
        for (partition, (checkpoint, in_memory)) in partitions.iter().zip(in_memory) {
            let key = |(at, _): &(usize, InTables)| RowKey::Total { item: items[*at], event_type };
            let keys: Vec<_> = in_memory.iter().map(key).collect();
            let stored = snapshot.get(partition.id, &keys)?;
            for ((at, memory), row) in in_memory.into_iter().zip(stored) {
                totals[at].add(&total(&checkpoint, row.as_ref(), &memory));
            }
        }
        Ok((totals, quality))
    }

    /// The total of an item and type: a row in each partition, and what memory has beyond it.
    ///
    /// Memory is looked at first. What is flushed between that and the snapshot is in both, and the
    /// row's stamp says so: a table that begins before it is in the row as a whole.
    fn item_total(&self, item: &str, event_type: &str) -> Result<Summary, QueryError> {
        let partitions = self.partitions_of(item)?;
        let look = |partition: &&Partition| {
            partition.memory.look(|tables| tables.totals(item, event_type))
        };
        let in_memory: Vec<Vec<TableTotal>> = partitions.iter().map(look).collect();
        let snapshot = self.store.snapshot()?;
        let mut total = Summary::EMPTY;
        for (partition, tables) in partitions.iter().zip(in_memory) {
            let rows = snapshot.get(partition.id, &[RowKey::Total { item, event_type }])?;
            let row = rows.into_iter().flatten().next().unwrap_or_default();
            let counted = row.stamp.next_offset;
            if tables.iter().any(|table| table.from < counted && counted < table.next_offset) {
                let context =
                    "store and memory do not meet: is somebody else writing to this store?";
                return Err(PortError::new(ErrorKind::Conflict, context).into());
            }
            total.add(&row.summary());
            let beyond = tables.iter().filter(|table| table.from >= counted);
            beyond.for_each(|table| total.add(&table.summary));
        }
        Ok(total)
    }

    /// Pins what an item has in a range, of each partition that counts it.
    fn pin_item(
        &self,
        item: &str,
        event_type: &str,
        range: TimeRange,
    ) -> Result<(Cover, Vec<PinnedItem<'_>>), QueryError> {
        let partitions = self.partitions_of(item)?;
        self.pin_all(&partitions, range, |tables, range| {
            let mut slots = Vec::new();
            for table in tables {
                table.for_each_slot(item, event_type, range, |slot, summary| {
                    slots.push((table.from(), slot, *summary));
                });
            }
            slots
        })
    }

    /// The partitions that may have counted events of an item. Whatever was acknowledged before
    /// this call went to one of them.
    fn partitions_of(&self, item: &str) -> Result<Vec<&Partition>, QueryError> {
        let table = self.routing.table()?;
        // Partitions that the table does not name yet have nothing of anybody.
        let partition = |id: PartitionId| self.processors.partitions.get(usize::from(id.0));
        Ok(table.partitions_of(item).into_iter().filter_map(partition).map(|p| &**p).collect())
    }

    /// The partitions that may have counted events of some items, in order, each with the places of
    /// its items in the list.
    fn by_partition(&self, items: &[&str]) -> Result<Vec<(&Partition, Vec<usize>)>, QueryError> {
        let table = self.routing.table()?;
        let partitions = self.processors.partitions.iter().map(|partition| &**partition);
        let mut all: Vec<_> = partitions.map(|partition| (partition, Vec::new())).collect();
        for (at, item) in items.iter().enumerate() {
            for id in table.partitions_of(item) {
                if let Some((_, places)) = all.get_mut(usize::from(id.0)) {
                    places.push(at);
                }
            }
        }
        all.retain(|(_, places)| !places.is_empty());
        Ok(all)
    }
}

/// Empty buckets of so many minutes, as many as the range touches.
fn buckets(range: TimeRange, step_minutes: u32) -> Result<Vec<(TimestampMs, Summary)>, QueryError> {
    let first = range.start.0 / step_minutes;
    let buckets = range.end.0.div_ceil(step_minutes) - first;
    if u64::from(buckets) > SERIES_POINTS_MAX {
        let (points, max) = (u64::from(buckets), SERIES_POINTS_MAX);
        return Err(QueryError::TooManyPoints { points, max });
    }
    let start = |bucket| Minute(bucket * step_minutes).start();
    Ok((first..first + buckets).map(|bucket| (start(bucket), Summary::EMPTY)).collect())
}

/// Calls `each` for everything that an item and type have in the range, with the first minute of
/// what it counts. A minute may come more than once; its numbers are to be added.
fn for_each_part(
    cover: &Cover,
    pinned: &[PinnedItem<'_>],
    cold: Option<&dyn ColdCounters>,
    item: &str,
    event_type: &str,
    mut each: impl FnMut(Minute, &Summary),
) -> Result<(), QueryError> {
    for pinned in pinned {
        let Pinned { partition, snapshot, memory, .. } = pinned;
        let mut ahead = pinned.ahead();
        let mut of_row = |hour, row: StoredRow| {
            ahead.note(&row, || RowOf::Hour(hour));
            cover.for_each_cell(hour, &row, &mut each);
        };
        snapshot.scan_item(partition.id, item, event_type, cover.hours(), &mut of_row)?;
        let days = snapshot.days(partition.id, cover.days())?;
        let keys: Vec<_> = days.iter().map(|&day| RowKey::Day { day, event_type, item }).collect();
        for (day, row) in days.iter().zip(snapshot.get(partition.id, &keys)?) {
            if let Some(row) = row {
                ahead.note(&row, || RowOf::Day(*day));
                each(day.minute(), &row.summary());
            }
        }
        for (from, slot, summary) in memory {
            if ahead.lacks(*from, || RowOf::from(*slot)) {
                each(slot.start(), summary);
            }
        }
    }
    if let Some(cold) = cold {
        let mut of_day = |day: Day, summary: &Summary| each(day.minute(), summary);
        cold.scan_item(item, event_type, cover.cold_days(), &mut of_day)?;
    }
    Ok(())
}

fn memory_total(
    tables: &[&model::aggregate::MemoryTable],
    item: &str,
    event_type: &str,
) -> InTables {
    let of = |table: &&model::aggregate::MemoryTable| {
        (table.from(), table.summary(item, event_type, TimeRange::ALL))
    };
    tables.iter().map(of).collect()
}

/// A total as it is stored, and what it lacks of memory.
fn total(checkpoint: &Checkpoint, row: Option<&StoredRow>, memory: &InTables) -> Summary {
    let mut ahead = Ahead::of(checkpoint);
    let mut total = Summary::EMPTY;
    if let Some(row) = row {
        ahead.note(row, || ());
        total.add(&row.summary());
    }
    let lacked = memory.iter().filter(|(from, _)| ahead.lacks(*from, || ()));
    lacked.for_each(|(_, summary)| total.add(summary));
    total
}
