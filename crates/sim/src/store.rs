//! The counter store as a process sees it: away at times, failing as ordered, and with a writer of
//! before that wakes up in the middle of a flush. Planted bugs of stores live here too.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::conformance::mem_store::{FlushFailure, MemStore};
use engine::ports::{
    Claim, CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, Folded, LetterState,
    NamedRow, PortError, Repairs, Rows, StoredDeadLetter,
};
use engine::processor::{Frozen, KnownRows, flush};
use model::{
    BulkEntry, Cell, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceState, StoredRow,
    Summary,
};
use parking_lot::Mutex;

use crate::bug::Bug;

/// Increments that were written without their checkpoint: the planted bug's.
type Strays = BTreeMap<(PartitionId, String, String), Summary>;

/// See the module.
pub(crate) struct SimStore {
    inner: MemStore,
    bug: Option<Bug>,
    is_away: AtomicBool,
    next_failure: Mutex<Option<FlushFailure>>,
    intruder: Mutex<Option<(PartitionId, Arc<Frozen>)>>,
    strays: Mutex<Strays>,
}

impl SimStore {
    /// An empty store.
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            inner: MemStore::new(),
            bug,
            is_away: AtomicBool::new(false),
            next_failure: Mutex::default(),
            intruder: Mutex::default(),
            strays: Mutex::default(),
        }
    }

    /// Takes the store away, or gives it back.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Whether it is away.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// Lets the next flush fail; none takes that back.
    pub(crate) fn fail_next(&self, failure: Option<FlushFailure>) {
        *self.next_failure.lock() = failure;
    }

    /// Lets a writer of before flush in the middle of the next flush.
    pub(crate) fn intrude(&self, partition: PartitionId, frozen: Arc<Frozen>) {
        *self.intruder.lock() = Some((partition, frozen));
    }

    /// Takes back the writer of before, where it has not struck.
    pub(crate) fn call_off_intruder(&self) -> Option<(PartitionId, Arc<Frozen>)> {
        self.intruder.lock().take()
    }

    /// Whether some rows of a flush are written that is to be repeated.
    pub(crate) fn is_half_written(&self, partition: PartitionId) -> bool {
        self.inner.is_half_written(partition)
    }

    /// Rows arrive that were on their way when a flush failed.
    pub(crate) fn deliver_late(&self) {
        self.inner.deliver_late();
    }

    fn check(&self) -> Result<(), PortError> {
        match self.is_away() {
            true => Err(PortError::new(ErrorKind::Unavailable, "the store is away")),
            false => Ok(()),
        }
    }

    fn stray(&self, flush: &Flush<'_>, rows: &[CounterRow<'_>]) -> Result<(), PortError> {
        let keys: Vec<RowKey<'_>> = rows.iter().map(|row| row.key).collect();
        let stored = self.inner.snapshot()?.get(flush.partition, &keys)?;
        for (row, stored) in rows.iter().zip(stored) {
            let RowKey::Total { item, event_type } = row.key else { continue };
            let (new, old) = (row.row.summary(), stored.unwrap_or_default().summary());
            let key = (flush.partition, item.to_owned(), event_type.to_owned());
            self.strays.lock().entry(key).or_default().add(&Summary {
                count: new.count - old.count,
                value_count: new.value_count - old.value_count,
                sum: new.sum - old.sum,
                ..new
            });
        }
        Err(PortError::new(ErrorKind::Unavailable, "the store went away after some rows"))
    }

    fn checkpoint_only(&self, flush: &Flush<'_>) -> Result<(), PortError> {
        self.inner.flush(flush, &mut std::iter::empty())?;
        Err(PortError::new(ErrorKind::Corrupt, "the store went down before the rows"))
    }
}

impl CounterStore for SimStore {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        self.check()?;
        self.inner.claim(partition)
    }

    fn flush(&self, new: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        self.check()?;
        // Read before the writer of before strikes: that is the case which matters.
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if let Some((partition, frozen)) = self.intruder.lock().take() {
            // Whether it is refused is for the store to say; what is stored is checked afterwards.
            let _ = flush(&self.inner, partition, &frozen, None, &mut KnownRows::none());
        }
        let failure = self.next_failure.lock().take();
        match (failure, self.bug) {
            (Some(_), Some(Bug::WriteIncrements)) => return self.stray(new, &rows),
            (Some(_), Some(Bug::CheckpointFirst)) => return self.checkpoint_only(new),
            (Some(failure), _) => self.inner.fail_flush(0, failure),
            (None, _) => {}
        }
        self.inner.flush(new, &mut rows.iter().cloned().map(Ok))?;
        // The rows were read with the strays in them.
        self.strays.lock().retain(|(partition, item, event_type), _| {
            let is_written = |row: &CounterRow<'_>| row.key == RowKey::Total { item, event_type };
            *partition != new.partition || !rows.iter().any(is_written)
        });
        Ok(())
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        self.check()?;
        self.inner.mark(partition, offset, from, to)
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        self.check()?;
        self.inner.fold(partition, rows_max)
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        self.check()?;
        self.inner.note_cold(until)
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.check()?;
        self.inner.remove_cold(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        self.check()?;
        let strays = self.strays.lock().clone();
        Ok(Box::new(SimSnapshot { inner: self.inner.snapshot()?, strays }))
    }
}

struct SimSnapshot {
    inner: Box<dyn CounterSnapshot>,
    strays: Strays,
}

impl CounterSnapshot for SimSnapshot {
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        self.inner.checkpoint(partition)
    }

    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError> {
        let mut rows = self.inner.get(partition, keys)?;
        for (key, row) in keys.iter().zip(&mut rows) {
            let RowKey::Total { item, event_type } = *key else { continue };
            let name = (partition, item.to_owned(), event_type.to_owned());
            let Some(stray) = self.strays.get(&name) else { continue };
            let row = row.get_or_insert_default();
            match row.cells.first_mut() {
                Some(cell) => cell.summary.add(stray),
                None => row.cells.push(Cell { slot: Cell::WHOLE, summary: *stray }),
            }
        }
        Ok(rows)
    }

    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_item(partition, item, event_type, hours, each)
    }

    fn scan_hour(
        &self,
        partition: PartitionId,
        hour: Hour,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_hour(partition, hour, event_type, each)
    }

    fn hours(&self, partition: PartitionId, hours: Range<u32>) -> Result<Vec<Hour>, PortError> {
        self.inner.hours(partition, hours)
    }

    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_hours(partition, hours, each)
    }

    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        self.inner.scan_totals(partition, each)
    }

    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_item_totals(partition, item, each)
    }

    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        self.inner.repairs(partition)
    }

    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_day(partition, day, event_type, each)
    }

    fn scan_days(
        &self,
        partition: PartitionId,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        self.inner.scan_days(partition, days, each)
    }

    fn days(&self, partition: PartitionId, days: Range<u32>) -> Result<Vec<Day>, PortError> {
        self.inner.days(partition, days)
    }

    fn cold_until(&self) -> Result<Day, PortError> {
        self.inner.cold_until()
    }

    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError> {
        self.inner.page(partition, hour, behind, limit)
    }

    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        self.inner.dead_letters(partition, from, limit)
    }

    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError> {
        self.inner.sources(partition)
    }

    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        self.inner.bulk()
    }
}
