//! Questions: the store and the memory tables added, so that each event is seen exactly once.

mod quality;
mod top;

use std::sync::Arc;

use model::bucket::MINUTE_MS;
use model::counter::RowKey;
use model::limits::SERIES_POINTS_MAX;
use model::{Granularity, Hour, Minute, RoutingTable, StoredRow, Summary, TimeRange, TimestampMs};

use crate::ports::{CounterSnapshot, CounterStore, ErrorKind, EventLog, PortError};
use crate::processor::{Processors, Tables};

pub use quality::Quality;
pub use top::Top;

/// Snapshots taken before giving up on finding one that memory goes on from. Each miss means that
/// two flushes were committed between two instructions of this thread.
const SNAPSHOTS_MAX: usize = 100;

/// Answers questions. Cheap to share; its functions are synchronous and read storage.
pub struct Query {
    log: Arc<dyn EventLog>,
    store: Arc<dyn CounterStore>,
    processors: Arc<Processors>,
    routing: RoutingTable,
    max_event_age_ms: i64,
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
        let routing = RoutingTable { partitions: log.partitions() };
        Self { log, store, processors, routing, max_event_age_ms }
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
        let quality = self.quality(range);
        let summary = match range {
            None => self.item_total(item, event_type)?,
            Some(range) => {
                let mut total = Summary::EMPTY;
                self.for_each_minute(item, event_type, range, |_, summary| total.add(summary))?;
                total
            }
        };
        Ok(Counted { summary, quality })
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
        let quality = self.quality(Some(range));
        let mut total = Summary::EMPTY;
        let Some(step_ms) = step.millis() else {
            if range == TimeRange::ALL {
                let total = self.item_total(item, event_type)?;
                return Ok(Series { range, total, points: Vec::new(), quality });
            }
            self.for_each_minute(item, event_type, range, |_, summary| total.add(summary))?;
            return Ok(Series { range, total, points: Vec::new(), quality });
        };
        let step_minutes = (step_ms / MINUTE_MS) as u32;
        let first = range.start.0 / step_minutes;
        let buckets = range.end.0.div_ceil(step_minutes) - first;
        if u64::from(buckets) > SERIES_POINTS_MAX {
            let (points, max) = (u64::from(buckets), SERIES_POINTS_MAX);
            return Err(QueryError::TooManyPoints { points, max });
        }
        let mut points: Vec<_> = (first..first + buckets)
            .map(|bucket| (Minute(bucket * step_minutes).start(), Summary::EMPTY))
            .collect();
        self.for_each_minute(item, event_type, range, |minute, summary| {
            points[(minute.0 / step_minutes - first) as usize].1.add(summary);
            total.add(summary);
        })?;
        Ok(Series { range, total, points, quality })
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
        for partition in &self.processors.partitions {
            let mine: Vec<usize> = (0..items.len())
                .filter(|&at| self.routing.partitions_of(items[at]).any(|id| id == partition.id))
                .collect();
            if mine.is_empty() {
                continue;
            }
            let (snapshot, in_memory) = self.pin(partition, |tables| {
                let of = |at: &usize| memory_total(tables, items[*at], event_type);
                mine.iter().map(of).collect::<Vec<_>>()
            })?;
            let keys: Vec<_> =
                mine.iter().map(|&at| RowKey::Total { item: items[at], event_type }).collect();
            let stored = snapshot.get(partition.id, &keys)?;
            for ((at, memory), row) in mine.into_iter().zip(in_memory).zip(stored) {
                totals[at].add(&memory);
                totals[at].add(&row.as_ref().map_or(Summary::EMPTY, StoredRow::summary));
            }
        }
        Ok((totals, quality))
    }

    fn item_total(&self, item: &str, event_type: &str) -> Result<Summary, QueryError> {
        let mut total = Summary::EMPTY;
        for id in self.routing.partitions_of(item) {
            let partition = &self.processors.partitions[usize::from(id.0)];
            let (snapshot, memory) =
                self.pin(partition, |tables| memory_total(tables, item, event_type))?;
            total.add(&memory);
            for row in snapshot.get(id, &[RowKey::Total { item, event_type }])?.iter().flatten() {
                total.add(&row.summary());
            }
        }
        Ok(total)
    }

    /// Calls `each` for the minutes of an item and type that have events in the range. A minute may
    /// come more than once; its numbers are to be added.
    fn for_each_minute(
        &self,
        item: &str,
        event_type: &str,
        range: TimeRange,
        mut each: impl FnMut(Minute, &Summary),
    ) -> Result<(), QueryError> {
        for id in self.routing.partitions_of(item) {
            let partition = &self.processors.partitions[usize::from(id.0)];
            let (snapshot, memory) = self.pin(partition, |tables| {
                let mut minutes = Vec::new();
                for table in tables {
                    table.for_each_minute(item, event_type, range, |minute, summary| {
                        minutes.push((minute, *summary));
                    });
                }
                minutes
            })?;
            memory.iter().for_each(|(minute, summary)| each(*minute, summary));
            let mut of_row = |hour: Hour, row: StoredRow| {
                for_each_cell(hour, &row, range, &mut each);
            };
            snapshot.scan_item(id, item, event_type, range.hours(), &mut of_row)?;
        }
        Ok(())
    }

    /// Pins a snapshot of the store together with the memory tables that hold exactly what it
    /// lacks, and looks at those while nothing is counted.
    fn pin<R>(
        &self,
        partition: &crate::processor::Partition,
        look: impl Fn(&[&model::aggregate::MemoryTable]) -> R,
    ) -> Result<(Box<dyn CounterSnapshot>, R), QueryError> {
        for _ in 0..SNAPSHOTS_MAX {
            let snapshot = self.store.snapshot()?;
            let checkpoint = snapshot.checkpoint(partition.id)?.unwrap_or_default();
            let seen = |tables: &Tables| tables.since(checkpoint.next_offset).map(|t| look(&t));
            if let Some(seen) = partition.memory.look(seen) {
                return Ok((snapshot, seen));
            }
        }
        let context = "store and memory do not meet: is somebody else writing to this store?";
        Err(PortError::new(ErrorKind::Conflict, context).into())
    }
}

fn memory_total(
    tables: &[&model::aggregate::MemoryTable],
    item: &str,
    event_type: &str,
) -> Summary {
    let mut total = Summary::EMPTY;
    for table in tables {
        total.add(&table.summary(item, event_type, TimeRange::ALL));
    }
    total
}

/// Calls `each` for the cells of an hour row that lie in the range. An hour whose minutes are no
/// longer kept counts at its start.
fn for_each_cell(
    hour: Hour,
    row: &StoredRow,
    range: TimeRange,
    each: &mut impl FnMut(Minute, &Summary),
) {
    for cell in &row.cells {
        let minute = hour.minute(cell.slot % 60);
        if range.contains(minute) {
            each(minute, &cell.summary);
        }
    }
}

#[cfg(test)]
mod tests;
