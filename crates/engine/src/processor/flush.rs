//! How a frozen table gets into the store: absolute rows and the checkpoint in one atomic batch.

use model::aggregate::{HourCells, SortedCells, TotalCell};
use model::counter::{Cell, RowKey, Stamp, StoredRow};
use model::{Checkpoint, Hour, PartitionId};

use crate::ports::{CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, PortError};

use super::memory::Frozen;

/// Rows read from the store at a time.
const ROWS_AT_A_TIME: usize = 128;

/// Adds a frozen table to the rows of the store and writes them with the checkpoint.
///
/// A repeat after a failure that had in fact succeeded changes nothing: the store refuses a
/// checkpoint that is not above its own, and this sees that it is the same one.
pub fn flush(
    store: &dyn CounterStore,
    partition: PartitionId,
    frozen: &Frozen,
) -> Result<(), PortError> {
    let rows = absolute_rows(store, partition, frozen)?;
    let checkpoint = frozen.checkpoint;
    let result =
        store.flush(&Flush { partition, rows, dead_letters: &frozen.dead_letters, checkpoint });
    match result {
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

fn absolute_rows<'a>(
    store: &dyn CounterStore,
    partition: PartitionId,
    frozen: &'a Frozen,
) -> Result<Vec<CounterRow<'a>>, PortError> {
    let stamp = Stamp {
        log_epoch: frozen.checkpoint.log_epoch,
        base_offset: frozen.table.from(),
        next_offset: frozen.checkpoint.next_offset,
    };
    let snapshot = store.snapshot()?;
    if let Some(stored) = snapshot.checkpoint(partition)?
        && stored.next_offset != stamp.base_offset
    {
        if is_same_place(&stored, &frozen.checkpoint) {
            return Ok(Vec::new());
        }
        let context = format!(
            "partition {partition} is at offset {} in the store and at {} in memory: somebody \
             else writes to this store",
            stored.next_offset, stamp.base_offset
        );
        return Err(PortError::new(ErrorKind::Conflict, context));
    }
    let SortedCells { totals, hours } = frozen.table.sorted(std::thread::yield_now);
    let mut rows = Vec::with_capacity(totals.len() + hours.len());
    let newest_hours = add_totals(&*snapshot, partition, stamp, &totals, &mut rows)?;
    drop(totals);
    add_hours(&*snapshot, partition, stamp, hours, &newest_hours, &mut rows)?;
    Ok(rows)
}

/// The totals as they are to be; for each the newest hour that had a row before.
fn add_totals<'a>(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    totals: &[TotalCell<'a>],
    rows: &mut Vec<CounterRow<'a>>,
) -> Result<Vec<Option<Hour>>, PortError> {
    let mut newest_hours = Vec::with_capacity(totals.len());
    for totals in totals.chunks(ROWS_AT_A_TIME) {
        let key = |t: &TotalCell<'a>| RowKey::Total { item: t.item, event_type: t.event_type };
        let keys: Vec<_> = totals.iter().map(key).collect();
        let stored = snapshot.get(partition, &keys)?;
        for ((total, key), stored) in totals.iter().zip(keys).zip(stored) {
            let mut row: StoredRow = stored.unwrap_or_default();
            newest_hours.push(row.newest_hour);
            row.advance(stamp, &[Cell { slot: Cell::WHOLE, summary: total.summary }]);
            row.newest_hour = row.newest_hour.max(Some(total.newest_hour));
            rows.push(CounterRow { key, row });
        }
        // A flush is in nobody's way: see `Counting`.
        std::thread::yield_now();
    }
    Ok(newest_hours)
}

/// The hour rows as they are to be. Those newer than any the store has are not asked for.
fn add_hours<'a>(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    hours: Vec<HourCells<'a>>,
    newest_hours: &[Option<Hour>],
    rows: &mut Vec<CounterRow<'a>>,
) -> Result<(), PortError> {
    let mut hours = hours.into_iter();
    loop {
        let chunk: Vec<HourCells<'a>> = hours.by_ref().take(ROWS_AT_A_TIME).collect();
        if chunk.is_empty() {
            return Ok(());
        }
        let key = |row: &HourCells<'a>| {
            let (hour, event_type, item) = (row.hour, row.event_type, row.item);
            RowKey::Hour { hour, event_type, item }
        };
        let may_be_stored = |row: &HourCells<'a>| Some(row.hour) <= newest_hours[row.total];
        let keys: Vec<_> = chunk.iter().filter(|row| may_be_stored(row)).map(key).collect();
        let mut stored = snapshot.get(partition, &keys)?.into_iter();
        for added in chunk {
            let key = key(&added);
            let known = may_be_stored(&added).then(|| stored.next().flatten()).flatten();
            let row = match known {
                Some(mut row) => {
                    row.advance(stamp, &added.cells);
                    row
                }
                None => StoredRow::begin(stamp, added.cells),
            };
            rows.push(CounterRow { key, row });
        }
        std::thread::yield_now();
    }
}
