//! A counter store over many machines: each partition's rows lie by themselves, so that a thousand of
//! them cost no more than those that are touched, and a snapshot pins a partition when it is first asked.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use engine::conformance::mem_store::MemStore;
use engine::ports::{
    Claim, CounterSnapshot, CounterStore, Flush, Folded, LetterState, NamedRow, PortError, Repairs,
    Rows, StoredDeadLetter,
};
use model::{
    BulkEntry, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceState, StoredRow,
};
use parking_lot::Mutex;

/// One process's handle. Clones are of one process.
#[derive(Clone)]
pub(super) struct Shards(Arc<Vec<MemStore>>);

impl Shards {
    pub(super) fn new(partitions: u16) -> Self {
        Self(Arc::new((0..partitions).map(|_| MemStore::new()).collect()))
    }

    /// The handle of another process on the same counters.
    pub(super) fn another(&self) -> Self {
        Self(Arc::new(self.0.iter().map(MemStore::another).collect()))
    }

    /// What has a partition's rows.
    pub(super) fn of(&self, partition: PartitionId) -> &MemStore {
        &self.0[usize::from(partition.0)]
    }

    /// How far a partition is flushed.
    pub(super) fn checkpoint(
        &self,
        partition: PartitionId,
    ) -> Result<Option<Checkpoint>, PortError> {
        self.of(partition).snapshot()?.checkpoint(partition)
    }
}

impl CounterStore for Shards {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        self.of(partition).claim(partition)
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        self.of(flush.partition).flush(flush, rows)
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        self.of(partition).mark(partition, offset, from, to)
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        self.of(partition).fold(partition, rows_max)
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        self.0.iter().try_for_each(|shard| shard.note_cold(until))
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.of(partition).remove_cold(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        Ok(Box::new(Pinned { shards: self.clone(), seen: Mutex::default() }))
    }
}

struct Pinned {
    shards: Shards,
    seen: Mutex<BTreeMap<PartitionId, Arc<dyn CounterSnapshot>>>,
}

impl Pinned {
    fn of(&self, partition: PartitionId) -> Result<Arc<dyn CounterSnapshot>, PortError> {
        let mut seen = self.seen.lock();
        if let Some(snapshot) = seen.get(&partition) {
            return Ok(snapshot.clone());
        }
        let snapshot: Arc<dyn CounterSnapshot> = self.shards.of(partition).snapshot()?.into();
        seen.insert(partition, snapshot.clone());
        Ok(snapshot)
    }
}

impl CounterSnapshot for Pinned {
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        self.of(partition)?.checkpoint(partition)
    }

    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError> {
        self.of(partition)?.get(partition, keys)
    }

    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_item(partition, item, event_type, hours, each)
    }

    fn scan_hour(
        &self,
        partition: PartitionId,
        hour: Hour,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_hour(partition, hour, event_type, each)
    }

    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_hours(partition, hours, each)
    }

    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_totals(partition, each)
    }

    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_item_totals(partition, item, each)
    }

    fn hours(&self, partition: PartitionId, hours: Range<u32>) -> Result<Vec<Hour>, PortError> {
        self.of(partition)?.hours(partition, hours)
    }

    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        self.of(partition)?.repairs(partition)
    }

    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_day(partition, day, event_type, each)
    }

    fn scan_days(
        &self,
        partition: PartitionId,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        self.of(partition)?.scan_days(partition, days, each)
    }

    fn days(&self, partition: PartitionId, days: Range<u32>) -> Result<Vec<Day>, PortError> {
        self.of(partition)?.days(partition, days)
    }

    fn cold_until(&self) -> Result<Day, PortError> {
        self.of(PartitionId(0))?.cold_until()
    }

    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError> {
        self.of(partition)?.page(partition, hour, behind, limit)
    }

    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        self.of(partition)?.dead_letters(partition, from, limit)
    }

    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError> {
        self.of(partition)?.sources(partition)
    }

    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        let ids = (0..self.shards.0.len() as u16).map(PartitionId);
        let all = ids.map(|id| self.of(id)?.bulk()).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}
