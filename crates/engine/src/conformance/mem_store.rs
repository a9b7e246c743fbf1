//! A counter store in memory, the reference for all others, with failures on order.

use std::collections::BTreeMap;
use std::ops::Bound::Excluded;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use model::{
    BulkEntry, BulkId, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceState, StoredRow,
};
use parking_lot::Mutex;

use crate::ports::{
    Claim, CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, Folded, LetterState,
    NamedRow, PortError, Repairs, Rows, StoredDeadLetter,
};

/// A handle to counters in memory. Clones share them, so that an engine started anew on a clone
/// finds what the one before it left.
#[derive(Clone, Debug, Default)]
pub struct MemStore {
    shared: Arc<Mutex<State>>,
    /// Which process this handle is of: clones are of one.
    process: u64,
}

/// When an ordered failure strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushFailure {
    /// Nothing was written; the error says so by its kind `Unavailable`.
    Before,
    /// All was written, but the writer is not told: the kind is `Corrupt`, as after a failed fsync.
    After,
    /// Some rows were written, as a store over many machines does: of each eight those whose bit is set.
    /// The kind is `Unavailable`.
    Partly(u8),
}

#[derive(Debug, Default)]
struct State {
    /// Shared with snapshots, and copied when a flush comes while one lives.
    stored: Arc<Stored>,
    failures: Vec<(u64, FlushFailure)>,
    flushes: u64,
    processes: u64,
    owners: BTreeMap<PartitionId, u64>,
    /// Rows of flushes that failed half way and are still on their way.
    late: Stored,
}

type HourKey = (PartitionId, Hour, String, String);

#[derive(Clone, Debug, Default)]
struct Stored {
    checkpoints: BTreeMap<PartitionId, Checkpoint>,
    /// Where a flush ends of which some rows are written.
    begun: BTreeMap<PartitionId, Checkpoint>,
    totals: BTreeMap<(PartitionId, String, String), StoredRow>,
    hours: BTreeMap<HourKey, StoredRow>,
    days: BTreeMap<(PartitionId, Day, String, String), StoredRow>,
    /// The last row that was looked at for folding.
    folded: BTreeMap<PartitionId, HourKey>,
    cold_until: Day,
    dead_letters: BTreeMap<(PartitionId, Offset), StoredDeadLetter>,
    sources: BTreeMap<(PartitionId, String), SourceState>,
    bulk: BTreeMap<BulkId, BulkEntry>,
    repairs: BTreeMap<PartitionId, Repairs>,
}

impl MemStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of another process on the same counters.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut state = self.shared.lock();
        state.processes += 1;
        Self { shared: Arc::clone(&self.shared), process: state.processes }
    }

    /// Writes what flushes that failed half way had not written yet, as a store does that gets it late: a row
    /// that is as new or newer stays.
    pub fn deliver_late(&self) {
        let mut state = self.shared.lock();
        let late = std::mem::take(&mut state.late);
        Arc::make_mut(&mut state.stored).merge(late);
    }

    /// Lets the flush fail that comes after `skip` others, refused ones counted too.
    pub fn fail_flush(&self, skip: u64, failure: FlushFailure) {
        let mut state = self.shared.lock();
        let at = state.flushes + skip;
        state.failures.push((at, failure));
    }

    /// Whether a flush of a partition failed half way and is to be repeated.
    pub fn is_half_written(&self, partition: PartitionId) -> bool {
        self.shared.lock().stored.begun.contains_key(&partition)
    }

    /// Number of flushes asked for, failed ones counted too.
    pub fn flushes(&self) -> u64 {
        self.shared.lock().flushes
    }
}

impl CounterStore for MemStore {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        let mut state = self.shared.lock();
        state.owners.insert(partition, self.process);
        let checkpoint = state.stored.checkpoints.get(&partition).copied();
        let begun = state.stored.begun.get(&partition).map(|begun| begun.next_offset);
        Ok(Claim { checkpoint, begun })
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let mut state = self.shared.lock();
        let number = state.flushes;
        state.flushes += 1;
        let at = state.failures.iter().position(|(at, _)| *at == number);
        let failure = at.map(|at| state.failures.swap_remove(at).1);
        if failure == Some(FlushFailure::Before) {
            return Err(PortError::new(ErrorKind::Unavailable, "a flush fails as ordered"));
        }
        if *state.owners.entry(flush.partition).or_insert(self.process) != self.process {
            let context = format!("partition {} has another owner by now", flush.partition);
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        let stored = Arc::make_mut(&mut state.stored);
        stored.check(flush)?;
        if let Some(FlushFailure::Partly(which)) = failure {
            stored.begun.insert(flush.partition, flush.checkpoint);
            stored.write_notes(flush);
            let (some, late): (Vec<_>, Vec<_>) =
                rows.iter().enumerate().partition(|(at, _)| which >> (at % 8) & 1 == 1);
            stored.write_rows(flush.partition, some.into_iter().map(|(_, row)| row));
            state.late.write_rows(flush.partition, late.into_iter().map(|(_, row)| row));
            return Err(PortError::new(
                ErrorKind::Unavailable,
                "a flush fails half way, as ordered",
            ));
        }
        stored.take(flush, &rows);
        if failure == Some(FlushFailure::After) {
            let context = "a flush is not confirmed, as ordered: restart";
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
        Ok(())
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        let mut state = self.shared.lock();
        let letters = &mut Arc::make_mut(&mut state.stored).dead_letters;
        let Some(letter) = letters.get_mut(&(partition, offset)) else {
            return Err(PortError::new(ErrorKind::Invalid, "there is no such dead letter"));
        };
        if letter.state != *from {
            return Err(PortError::new(ErrorKind::Conflict, "the dead letter's state is another"));
        }
        letter.state = to.clone();
        Ok(())
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        Ok(Arc::make_mut(&mut self.shared.lock().stored).fold(partition, rows_max))
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        let mut state = self.shared.lock();
        let stored = Arc::make_mut(&mut state.stored);
        stored.cold_until = stored.cold_until.max(until);
        Ok(())
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        let mut state = self.shared.lock();
        let stored = Arc::make_mut(&mut state.stored);
        let is_cold = |key: &&HourKey| key.0 == partition && key.1.day() < stored.cold_until;
        let cold: Vec<_> =
            stored.hours.keys().filter(is_cold).take(rows_max + 1).cloned().collect();
        cold.iter().take(rows_max).for_each(|key| drop(stored.hours.remove(key)));
        Ok(cold.len() <= rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        Ok(Box::new(MemSnapshot(self.shared.lock().stored.clone())))
    }
}

impl Stored {
    /// Whether a flush is the next one.
    fn check(&self, flush: &Flush<'_>) -> Result<(), PortError> {
        let place = |c: &Checkpoint| (c.log_epoch, c.next_offset);
        let partition = flush.partition;
        if let Some(stored) = self.checkpoints.get(&partition)
            && place(&flush.checkpoint) <= place(stored)
        {
            let context = format!("{:?} is not above {stored:?}", flush.checkpoint);
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        if let Some(begun) = self.begun.get(&partition)
            && place(begun) != place(&flush.checkpoint)
        {
            let context = format!("{:?} is not {begun:?}, which was begun", flush.checkpoint);
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        Ok(())
    }

    fn write_rows<'r>(
        &mut self,
        partition: PartitionId,
        rows: impl Iterator<Item = &'r CounterRow<'r>>,
    ) {
        for counter in rows {
            let row = counter.row.clone();
            match counter.key {
                RowKey::Total { item, event_type } => {
                    self.totals.insert((partition, item.to_owned(), event_type.to_owned()), row);
                }
                RowKey::Hour { hour, event_type, item } => {
                    let key = (partition, hour, event_type.to_owned(), item.to_owned());
                    self.hours.insert(key, row);
                }
                RowKey::Day { day, event_type, item } => {
                    let key = (partition, day, event_type.to_owned(), item.to_owned());
                    self.days.insert(key, row);
                }
            }
        }
    }

    fn merge(&mut self, late: Self) {
        newest(&mut self.totals, late.totals);
        newest(&mut self.hours, late.hours);
        newest(&mut self.days, late.days);
    }

    /// What does no harm when it is seen before the checkpoint.
    fn write_notes(&mut self, flush: &Flush<'_>) {
        let partition = flush.partition;
        if !flush.repairs.is_empty() {
            let repairs = self.repairs.entry(partition).or_default();
            for note in flush.repairs {
                note.apply(repairs);
            }
        }
        for letter in flush.dead_letters {
            let key = (partition, letter.offset);
            if self.dead_letters.contains_key(&key) {
                // From before the flush failed half way; its state may have moved on.
                continue;
            }
            let stored = StoredDeadLetter {
                offset: letter.offset,
                append_time: letter.append_time,
                reason: letter.reason.to_string(),
                record: letter.record.clone(),
                state: LetterState::Open,
            };
            self.dead_letters.insert(key, stored);
        }
        for entry in flush.bulk {
            self.bulk.insert(entry.object.id, entry.clone());
        }
    }

    fn take(&mut self, flush: &Flush<'_>, rows: &[CounterRow<'_>]) {
        assert!(
            rows.is_sorted_by(|a, b| a.key < b.key),
            "the rows of a flush are in key order, no key twice"
        );
        let partition = flush.partition;
        self.write_rows(partition, rows.iter());
        self.write_notes(flush);
        self.begun.remove(&partition);
        self.checkpoints.insert(partition, flush.checkpoint);
        for mark in flush.sources {
            let key = (partition, mark.source.to_string());
            match mark.state.clone() {
                Some(state) => self.sources.insert(key, state),
                None => self.sources.remove(&key),
            };
        }
    }

    fn fold(&mut self, partition: PartitionId, rows_max: usize) -> Folded {
        let horizons = self.checkpoints.get(&partition).copied().unwrap_or_default().horizons;
        let begin = |hour| (partition, hour, String::new(), String::new());
        let from = self.folded.get(&partition).cloned().unwrap_or_else(|| begin(Hour(0)));
        let until = begin(horizons.minute());
        if from >= until {
            return Folded { rows: 0, is_done: true };
        }
        let (mut rows, mut last) = (0, None);
        let mut left = self.hours.range_mut((Excluded(&from), Excluded(&until)));
        for (key, row) in left.by_ref().take(rows_max) {
            rows += u64::from(row.fold());
            last = Some(key.clone());
        }
        let is_done = left.next().is_none();
        self.folded.insert(partition, if is_done { until } else { last.unwrap_or(from) });
        Folded { rows, is_done }
    }

    fn get(&self, partition: PartitionId, key: &RowKey<'_>) -> Option<StoredRow> {
        match *key {
            RowKey::Total { item, event_type } => {
                self.totals.get(&(partition, item.to_owned(), event_type.to_owned()))
            }
            RowKey::Hour { hour, event_type, item } => {
                self.hours.get(&(partition, hour, event_type.to_owned(), item.to_owned()))
            }
            RowKey::Day { day, event_type, item } => {
                self.days.get(&(partition, day, event_type.to_owned(), item.to_owned()))
            }
        }
        .cloned()
    }
}

/// Takes the rows that are newer than those there.
fn newest<K: Ord>(rows: &mut BTreeMap<K, StoredRow>, late: BTreeMap<K, StoredRow>) {
    let place = |row: &StoredRow| (row.stamp.log_epoch, row.stamp.next_offset);
    for (key, row) in late {
        if rows.get(&key).is_none_or(|stored| place(stored) < place(&row)) {
            rows.insert(key, row);
        }
    }
}

struct MemSnapshot(Arc<Stored>);

impl CounterSnapshot for MemSnapshot {
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        Ok(self.0.checkpoints.get(&partition).copied())
    }

    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError> {
        Ok(keys.iter().map(|key| self.0.get(partition, key)).collect())
    }

    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError> {
        for hour in self.hours(partition, hours)? {
            if let Some(row) = self.0.get(partition, &RowKey::Hour { hour, event_type, item }) {
                each(hour, row);
            }
        }
        Ok(())
    }

    fn scan_hour(
        &self,
        partition: PartitionId,
        hour: Hour,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let first = (partition, hour, event_type.to_owned(), String::new());
        for ((p, h, t, item), row) in self.0.hours.range(first..) {
            if (*p, *h, t.as_str()) != (partition, hour, event_type) {
                break;
            }
            each(item, row.clone());
        }
        Ok(())
    }

    fn hours(&self, partition: PartitionId, hours: Range<u32>) -> Result<Vec<Hour>, PortError> {
        let mut found: Vec<Hour> = self
            .0
            .hours
            .keys()
            .filter(|(p, hour, ..)| *p == partition && hours.contains(&hour.0))
            .map(|(_, hour, ..)| *hour)
            .collect();
        found.dedup();
        Ok(found)
    }

    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        for ((id, hour, event_type, item), row) in &self.0.hours {
            if *id == partition && hours.contains(&hour.0) {
                each(*hour, event_type, item, row.clone());
            }
        }
        Ok(())
    }

    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let first = (partition, day, event_type.to_owned(), String::new());
        for ((p, d, t, item), row) in self.0.days.range(first..) {
            if (*p, *d, t.as_str()) != (partition, day, event_type) {
                break;
            }
            each(item, row.clone());
        }
        Ok(())
    }

    fn scan_days(
        &self,
        partition: PartitionId,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        for ((id, day, event_type, item), row) in &self.0.days {
            if *id == partition && days.contains(&day.0) {
                each(*day, event_type, item, row.clone());
            }
        }
        Ok(())
    }

    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        for ((id, item, event_type), row) in &self.0.totals {
            if *id == partition && each(item, event_type, row.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let first = (partition, item.to_owned(), String::new());
        let of_item = self.0.totals.range(first..);
        of_item
            .take_while(|((id, of, _), _)| (*id, of.as_str()) == (partition, item))
            .for_each(|((_, _, event_type), row)| each(event_type, row.clone()));
        Ok(())
    }

    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        Ok(self.0.repairs.get(&partition).cloned().unwrap_or_default())
    }

    fn days(&self, partition: PartitionId, days: Range<u32>) -> Result<Vec<Day>, PortError> {
        let mine =
            self.0.days.keys().filter(|(p, day, ..)| *p == partition && days.contains(&day.0));
        let mut found: Vec<Day> = mine.map(|(_, day, ..)| *day).collect();
        found.dedup();
        Ok(found)
    }

    fn cold_until(&self) -> Result<Day, PortError> {
        Ok(self.0.cold_until)
    }

    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError> {
        let (event_type, item) = behind.unwrap_or_default();
        let from = (partition, hour, event_type.to_owned(), item.to_owned());
        let until = (partition, Hour(hour.0 + 1), String::new(), String::new());
        let rows = self.0.hours.range((Excluded(from), Excluded(until))).take(limit);
        Ok(rows.map(|((_, _, t, item), row)| (t.clone(), item.clone(), row.clone())).collect())
    }

    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        let range = (partition, from)..=(partition, Offset(u64::MAX));
        Ok(self.0.dead_letters.range(range).take(limit).map(|(_, letter)| letter.clone()).collect())
    }

    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError> {
        let of_partition = self.0.sources.iter().filter(|((id, _), _)| *id == partition);
        Ok(of_partition.map(|((_, source), state)| (source.clone(), state.clone())).collect())
    }

    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        Ok(self.0.bulk.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests;
