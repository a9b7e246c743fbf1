//! How a frozen table gets into the store: absolute rows and the checkpoint in one atomic batch.

use std::cmp::Ordering;
use std::ops::Range;

use model::aggregate::{DayCell, HourCells, SortedCells, TotalCell};
use model::counter::bytes::{read_row, write_row};
use model::counter::{Cell, RowKey, Stamp, StoredRow};
use model::{Checkpoint, Hour, PartitionId};

use crate::ports::{CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, PortError};

use super::correct::{Corrected, Merged, corrected};
use super::known::{Found, Known, KnownRows, Record};
use super::leaders::Leaders;
use super::memory::Frozen;

/// What an item takes of the bytes that are made of a long tail.
const ITEM_BYTES: usize = 48;
/// Rows read from the store at a time.
const ROWS_AT_A_TIME: usize = 128;

/// Adds a frozen table to the rows of the store and writes them with the checkpoint.
///
/// A repeat after a failure that had in fact succeeded changes nothing: the store refuses a
/// checkpoint that is not above its own, and this sees that it is the same one.
///
/// Rows are noted in `leaders`, where there are some. What is known of rows in `known` is not asked of the store;
/// it has to be that of whoever flushed the partition since it was opened.
pub fn flush(
    store: &dyn CounterStore,
    partition: PartitionId,
    frozen: &Frozen,
    leaders: Option<&Leaders>,
    known: &mut KnownRows,
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
            known.forget();
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
        leaders.begin_flush(cells.written(), &corrected, had_rows)?;
    }
    let is_corrected = !corrected.is_empty();
    let folded_until = checkpoint.horizons.minute();
    let mut counted = AbsoluteRows::new(&*snapshot, partition, stamp, cells, known, folded_until);
    #[expect(clippy::manual_inspect, reason = "its rows would live as long as the table's names")]
    let mut rows = Merged::new(&mut counted, corrected).map(|row| {
        if let (Some(leaders), Ok(row)) = (leaders, &row) {
            leaders.note(row);
        }
        row
    });
    let Frozen { dead_letters, sources, bulk, .. } = frozen;
    let flush = Flush { partition, dead_letters, sources, bulk, repairs: &notes, checkpoint };
    let flushed = store.flush(&flush, &mut rows);
    drop(rows);
    match flushed {
        // The rows that were corrected are others than those that were counted.
        Ok(()) if is_corrected => known.forget(),
        Ok(()) => counted.made.teach(known),
        Err(error) if error.kind == ErrorKind::Conflict => {
            match store.snapshot()?.checkpoint(partition)? {
                Some(stored) if is_same_place(&stored, &checkpoint) => known.forget(),
                _ => return Err(error),
            }
        }
        // What is known holds for the repeat as it did for this one.
        Err(error) => return Err(error),
    }
    Ok(())
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

/// The next ones of so many.
fn next(made: usize, all: usize) -> Range<usize> {
    made..all.min(made + ROWS_AT_A_TIME)
}

/// The rows as they are to be, made of a frozen table and what is stored, a few at a time.
struct AbsoluteRows<'a, 's> {
    snapshot: &'s dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    known: &'s KnownRows,
    /// Hours before it may have been folded since they were written.
    folded_until: Hour,
    cells: SortedCells<'a>,
    made: Made,
    hours_made: usize,
    days_made: usize,
    ready: std::vec::IntoIter<CounterRow<'a>>,
}

/// What is to be known of the rows of a flush once they are in the store.
struct Made {
    /// For each total that was passed: what was known before, and what is now.
    passed: Vec<Passed>,
    /// Names, and the bytes of rows.
    bytes: Vec<u8>,
}

struct Passed {
    found: Found,
    /// Whether the store had the total: a row that is not there is the dearest to look for.
    is_stored: bool,
    /// The newest hour that had a row.
    newest_before: Option<Hour>,
    /// The newest hour that has a row now.
    newest_hour: Option<Hour>,
    item: Part,
    event_type: Part,
    total: Part,
    /// The row of the newest hour: of the one before until that of now is made; empty where it is not known.
    hour: Part,
}

/// Where bytes are.
#[derive(Clone, Copy)]
struct Part {
    start: u32,
    len: u32,
}

/// What is known of an hour row.
enum KnownHour {
    Row(StoredRow),
    /// There is none.
    Nothing,
    /// The store has to be asked.
    Unknown,
}

impl Made {
    fn keep(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Part {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let place = |at: usize| u32::try_from(at).expect("a table is flushed long before");
        Part { start: place(start), len: place(self.bytes.len() - start) }
    }

    fn at(&self, part: Part) -> &[u8] {
        &self.bytes[part.start as usize..][..part.len as usize]
    }

    /// Hands on what was made, once it is stored.
    fn teach(&self, known: &mut KnownRows) {
        for (at, passed) in self.passed.iter().enumerate() {
            if at % ROWS_AT_A_TIME == 0 {
                std::thread::yield_now();
            }
            let Passed { found, item, event_type, total, hour, .. } = *passed;
            let [item, event_type, total, hour] =
                [item, event_type, total, hour].map(|part| self.at(part));
            known.learn(found, &Record { item, event_type, total, hour });
        }
    }
}

impl<'a, 's> AbsoluteRows<'a, 's> {
    fn new(
        snapshot: &'s dyn CounterSnapshot,
        partition: PartitionId,
        stamp: Stamp,
        cells: SortedCells<'a>,
        known: &'s KnownRows,
        folded_until: Hour,
    ) -> Self {
        let passed = Vec::with_capacity(cells.totals_len());
        let bytes = Vec::with_capacity(ITEM_BYTES * cells.totals_len());
        Self {
            snapshot,
            partition,
            stamp,
            known,
            folded_until,
            cells,
            made: Made { passed, bytes },
            hours_made: 0,
            days_made: 0,
            ready: Vec::new().into_iter(),
        }
    }

    fn totals_left(&self) -> usize {
        self.cells.totals_len() - self.made.passed.len()
    }

    fn hours_left(&self) -> usize {
        self.cells.hours_len() - self.hours_made
    }

    /// The stored rows of keys; none where no key is given or the store has no row.
    fn ask(&self, wanted: &[Option<RowKey<'a>>]) -> Result<Vec<Option<StoredRow>>, PortError> {
        let keys: Vec<_> = wanted.iter().flatten().copied().collect();
        let mut stored = self.snapshot.get(self.partition, &keys)?.into_iter();
        Ok(wanted.iter().map(|key| key.and_then(|_| stored.next().flatten())).collect())
    }

    /// Asks the store only for what is not known.
    fn next_totals(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk = self.cells.totals(next(self.made.passed.len(), self.cells.totals_len()));
        let key = |t: &TotalCell<'a>| RowKey::Total { item: t.item, event_type: t.event_type };
        let found = self.known.find_all(chunk.iter().map(|total| (total.item, total.event_type)));
        let known: Vec<_> = found.iter().map(|found| self.known.get(*found)).collect();
        let wanted = |(total, known)| matches!(known, &Known::Unknown).then(|| key(total));
        let asked = self.ask(&chunk.iter().zip(&known).map(wanted).collect::<Vec<_>>())?;
        let mut rows = Vec::with_capacity(chunk.len());
        for (((total, found), known), asked) in chunk.iter().zip(found).zip(known).zip(asked) {
            let (stored, hour) = match known {
                Known::Rows { total, hour } => (Some(total), hour),
                Known::Nothing => (None, &[][..]),
                Known::Unknown => (asked, &[][..]),
            };
            let is_stored = stored.is_some();
            let mut row: StoredRow = stored.unwrap_or_default();
            let newest_before = row.newest_hour;
            let cell = Cell { slot: Cell::WHOLE, summary: total.summary };
            count_on(self.partition, &mut row, self.stamp, &[cell])?;
            row.newest_hour = newest_before.max(total.newest_hour);
            let newest_hour = row.newest_hour;
            let made = &mut self.made;
            let passed = Passed {
                found,
                is_stored,
                newest_before,
                newest_hour,
                item: made.keep(|bytes| bytes.extend_from_slice(total.item.as_bytes())),
                event_type: made.keep(|bytes| bytes.extend_from_slice(total.event_type.as_bytes())),
                total: made.keep(|bytes| write_row(bytes, &row)),
                hour: made.keep(|bytes| bytes.extend_from_slice(hour)),
            };
            made.passed.push(passed);
            rows.push(CounterRow { key: key(total), row });
        }
        Ok(rows)
    }

    /// Hours newer than any the store has are not asked for, and the newest only where it is not known.
    fn next_hours(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk = self.cells.hours(next(self.hours_made, self.cells.hours_len()));
        self.hours_made += chunk.len();
        let key = |row: &HourCells<'a>| {
            let (hour, event_type, item) = (row.hour, row.event_type, row.item);
            RowKey::Hour { hour, event_type, item }
        };
        let known: Vec<_> = chunk.iter().map(|row| self.known_hour(row)).collect();
        let wanted = |(row, known)| matches!(known, &KnownHour::Unknown).then(|| key(row));
        let asked = self.ask(&chunk.iter().zip(&known).map(wanted).collect::<Vec<_>>())?;
        let mut rows = Vec::with_capacity(chunk.len());
        for ((added, known), asked) in chunk.into_iter().zip(known).zip(asked) {
            let key = key(&added);
            let (hour, total) = (added.hour, added.total);
            let stored = match known {
                KnownHour::Row(row) => Some(row),
                KnownHour::Nothing => None,
                KnownHour::Unknown => asked,
            };
            let row = match stored {
                Some(mut row) => {
                    count_on(self.partition, &mut row, self.stamp, &added.cells)?;
                    row
                }
                None => StoredRow::begin(self.stamp, added.cells),
            };
            if self.made.passed[total].newest_hour == Some(hour) {
                self.made.passed[total].hour = self.made.keep(|bytes| write_row(bytes, &row));
            }
            rows.push(CounterRow { key, row });
        }
        Ok(rows)
    }

    fn known_hour(&self, row: &HourCells<'a>) -> KnownHour {
        let Passed { newest_before, hour, .. } = self.made.passed[row.total];
        let is_known = hour.len > 0 && row.hour >= self.folded_until;
        match Some(row.hour).cmp(&newest_before) {
            Ordering::Greater => KnownHour::Nothing,
            Ordering::Equal if is_known => {
                KnownHour::Row(read_row(self.made.at(hour)).expect("as it was learned"))
            }
            Ordering::Equal | Ordering::Less => KnownHour::Unknown,
        }
    }

    /// Of an item and type that the store did not know, no days are asked for.
    fn next_days(&mut self) -> Result<Vec<CounterRow<'a>>, PortError> {
        let chunk = self.cells.days(next(self.days_made, self.cells.days_len()));
        self.days_made += chunk.len();
        let key = |row: &DayCell<'a>| {
            let (day, event_type, item) = (row.day, row.event_type, row.item);
            RowKey::Day { day, event_type, item }
        };
        let may_be_stored = |row: &DayCell<'a>| self.made.passed[row.total].is_stored;
        let wanted = |row| may_be_stored(row).then(|| key(row));
        let asked = self.ask(&chunk.iter().map(wanted).collect::<Vec<_>>())?;
        let mut rows = Vec::with_capacity(chunk.len());
        for (added, known) in chunk.into_iter().zip(asked) {
            let mut row: StoredRow = known.unwrap_or_default();
            let cell = Cell { slot: Cell::WHOLE, summary: added.summary };
            count_on(self.partition, &mut row, self.stamp, &[cell])?;
            rows.push(CounterRow { key: key(&added), row });
        }
        Ok(rows)
    }
}

impl<'a> Iterator for AbsoluteRows<'a, '_> {
    type Item = Result<CounterRow<'a>, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.len() == 0 {
            // An answer may wait for this core, and the kernel looks only every few milliseconds.
            std::thread::yield_now();
            let more = match (self.totals_left(), self.hours_left()) {
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
        let days_left = self.cells.days_len() - self.days_made;
        let left = self.ready.len() + self.totals_left() + self.hours_left() + days_left;
        (left, Some(left))
    }
}
