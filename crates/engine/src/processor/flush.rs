//! How a frozen table gets into the store: absolute rows and the checkpoint in one atomic batch.

use model::aggregate::{DayCell, HourCells, SortedCells, TotalCell};
use model::counter::{Cell, RowKey, Stamp, StoredRow};
use model::{Checkpoint, Hour, PartitionId};

use crate::ports::{CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, PortError};

use super::correct::{Corrected, Merged, corrected};
use super::leaders::Leaders;
use super::memory::Frozen;

/// Rows read from the store at a time.
const ROWS_AT_A_TIME: usize = 128;

/// Adds a frozen table to the rows of the store and writes them with the checkpoint.
///
/// A repeat after a failure that had in fact succeeded changes nothing: the store refuses a
/// checkpoint that is not above its own, and this sees that it is the same one.
///
/// Rows are noted in `leaders`, where there are some.
pub fn flush(
    store: &dyn CounterStore,
    partition: PartitionId,
    frozen: &Frozen,
    leaders: Option<&Leaders>,
) -> Result<(), PortError> {
    let checkpoint = frozen.checkpoint;
    let stamp = Stamp {
        log_epoch: checkpoint.log_epoch,
        base_offset: frozen.table.from(),
        next_offset: checkpoint.next_offset,
    };
    let snapshot = store.snapshot()?;
    if let Some(stored) = snapshot.checkpoint(partition)?
        && stored.next_offset != stamp.base_offset
    {
        if is_same_place(&stored, &checkpoint) {
            return Ok(());
        }
        let context = format!(
            "partition {partition} is at offset {} in the store and at {} in memory: somebody \
             else writes to this store",
            stored.next_offset, stamp.base_offset
        );
        return Err(PortError::new(ErrorKind::Conflict, context));
    }
    let Corrected { rows: corrected, notes } = corrected(&*snapshot, partition, stamp, frozen)?;
    let cells = frozen.table.sorted();
    if let Some(leaders) = leaders {
        let had_rows = || snapshot.hours(partition, 0..u32::MAX);
        leaders.begin_flush(&cells.hours, &corrected, had_rows)?;
    }
    let rows = AbsoluteRows::new(&*snapshot, partition, stamp, cells);
    let mut rows = Merged::new(rows, corrected).inspect(|row| {
        if let (Some(leaders), Ok(row)) = (leaders, row) {
            leaders.note(row);
        }
    });
    let Frozen { dead_letters, sources, bulk, .. } = frozen;
    let flush = Flush { partition, dead_letters, sources, bulk, repairs: &notes, checkpoint };
    match store.flush(&flush, &mut rows) {
        Err(error) if error.kind == ErrorKind::Conflict => {
            match store.snapshot()?.checkpoint(partition)? {
                Some(stored) if is_same_place(&stored, &checkpoint) => Ok(()),
                _ => Err(error),
            }
        }
        result => result,
    }
}

fn is_same_place(one: &Checkpoint, other: &Checkpoint) -> bool {
    (one.log_epoch, one.next_offset) == (other.log_epoch, other.next_offset)
}

/// Adds to a stored row what a table has counted. One that stands beyond the table's begin, and not at its
/// end, is of another process: of a flush that it had begun when it took the partition over.
pub(super) fn count_on(
    partition: PartitionId,
    row: &mut StoredRow,
    stamp: Stamp,
    cells: &[Cell],
) -> Result<(), PortError> {
    let at = (row.stamp.log_epoch, row.stamp.next_offset);
    if at > (stamp.log_epoch, stamp.base_offset) && !row.has_counted(stamp) {
        let context = format!(
            "partition {partition}: a row is at offset {}, and memory counts from {} on: somebody \
             else writes to this store",
            row.stamp.next_offset, stamp.base_offset
        );
        return Err(PortError::new(ErrorKind::Conflict, context));
    }
    row.advance(stamp, cells);
    Ok(())
}

/// The rows as they are to be, made of a frozen table and what is stored, a few at a time.
struct AbsoluteRows<'a> {
    snapshot: &'a dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    totals: std::vec::IntoIter<TotalCell<'a>>,
    /// For each total that was passed: what was known before.
    passed: Vec<Passed>,
    hours: std::vec::IntoIter<HourCells<'a>>,
    days: std::vec::IntoIter<DayCell<'a>>,
    ready: std::vec::IntoIter<CounterRow<'a>>,
}

/// What a stored total says of its other rows: one that is not there is the dearest to look for.
#[derive(Clone, Copy)]
struct Passed {
    is_stored: bool,
    /// The newest hour that has a row.
    newest_hour: Option<Hour>,
}

impl<'a> AbsoluteRows<'a> {
    fn new(
        snapshot: &'a dyn CounterSnapshot,
        partition: PartitionId,
        stamp: Stamp,
        cells: SortedCells<'a>,
    ) -> Self {
        let SortedCells { totals, hours, days } = cells;
        Self {
            snapshot,
            partition,
            stamp,
            passed: Vec::with_capacity(totals.len()),
            totals: totals.into_iter(),
            hours: hours.into_iter(),
            days: days.into_iter(),
            ready: Vec::new().into_iter(),
        }
    }

    fn next_totals(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk: Vec<_> = self.totals.by_ref().take(ROWS_AT_A_TIME).collect();
        let key = |t: &TotalCell<'a>| RowKey::Total { item: t.item, event_type: t.event_type };
        let keys: Vec<_> = chunk.iter().map(key).collect();
        let stored = self.snapshot.get(self.partition, &keys)?;
        let mut rows = Vec::with_capacity(chunk.len());
        for ((total, key), stored) in chunk.iter().zip(keys).zip(stored) {
            let is_stored = stored.is_some();
            let mut row: StoredRow = stored.unwrap_or_default();
            self.passed.push(Passed { is_stored, newest_hour: row.newest_hour });
            let cell = Cell { slot: Cell::WHOLE, summary: total.summary };
            count_on(self.partition, &mut row, self.stamp, &[cell])?;
            row.newest_hour = row.newest_hour.max(total.newest_hour);
            rows.push(CounterRow { key, row });
        }
        Ok(rows)
    }

    /// Hours newer than any the store has are not asked for.
    fn next_hours(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk: Vec<_> = self.hours.by_ref().take(ROWS_AT_A_TIME).collect();
        let key = |row: &HourCells<'a>| {
            let (hour, event_type, item) = (row.hour, row.event_type, row.item);
            RowKey::Hour { hour, event_type, item }
        };
        let may_be_stored =
            |row: &HourCells<'a>| Some(row.hour) <= self.passed[row.total].newest_hour;
        let keys: Vec<_> = chunk.iter().filter(|row| may_be_stored(row)).map(key).collect();
        let mut stored = self.snapshot.get(self.partition, &keys)?.into_iter();
        let mut rows = Vec::with_capacity(chunk.len());
        for added in chunk {
            let key = key(&added);
            let known = may_be_stored(&added).then(|| stored.next().flatten()).flatten();
            let row = match known {
                Some(mut row) => {
                    count_on(self.partition, &mut row, self.stamp, &added.cells)?;
                    row
                }
                None => StoredRow::begin(self.stamp, added.cells),
            };
            rows.push(CounterRow { key, row });
        }
        Ok(rows)
    }

    /// Of an item and type that the store did not know, no days are asked for.
    fn next_days(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk: Vec<_> = self.days.by_ref().take(ROWS_AT_A_TIME).collect();
        let key = |row: &DayCell<'a>| {
            let (day, event_type, item) = (row.day, row.event_type, row.item);
            RowKey::Day { day, event_type, item }
        };
        let may_be_stored = |row: &DayCell<'a>| self.passed[row.total].is_stored;
        let keys: Vec<_> = chunk.iter().filter(|row| may_be_stored(row)).map(key).collect();
        let mut stored = self.snapshot.get(self.partition, &keys)?.into_iter();
        let mut rows = Vec::with_capacity(chunk.len());
        for added in chunk {
            let known = may_be_stored(&added).then(|| stored.next().flatten()).flatten();
            let mut row: StoredRow = known.unwrap_or_default();
            let cell = Cell { slot: Cell::WHOLE, summary: added.summary };
            count_on(self.partition, &mut row, self.stamp, &[cell])?;
            rows.push(CounterRow { key: key(&added), row });
        }
        Ok(rows)
    }
}

impl<'a> Iterator for AbsoluteRows<'a> {
    type Item = Result<CounterRow<'a>, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 {
            // An answer may wait for this core, and the kernel looks only every few milliseconds.
            std::thread::yield_now();
            let more = match (self.totals.len(), self.hours.len()) {
                (0, 0) => self.next_days(),
                (0, _) => self.next_hours(),
                _ => self.next_totals(),
            };
            match more {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.next().map(Ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.ready.len() + self.totals.len() + self.hours.len() + self.days.len();
        (left, Some(left))
    }
}
