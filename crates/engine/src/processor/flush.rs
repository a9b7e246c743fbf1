//! How a frozen table gets into the store: absolute rows and the checkpoint in one atomic batch.

use model::counter::{Cell, RowKey, Stamp, StoredRow};
use model::{Checkpoint, PartitionId};

use crate::ports::{CounterRow, CounterStore, ErrorKind, Flush, PortError};

use super::memory::Frozen;

/// Rows read from the store at a time.
const ROWS_AT_A_TIME: usize = 512;

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
    let sorted = frozen.table.sorted();
    let added = sorted
        .totals
        .into_iter()
        .map(|(item, event_type, summary)| {
            (RowKey::Total { item, event_type }, vec![Cell { slot: Cell::WHOLE, summary }])
        })
        .chain(sorted.hours.into_iter().map(|row| {
            let (hour, event_type, item) = (row.hour, row.event_type, row.item);
            (RowKey::Hour { hour, event_type, item }, row.cells)
        }));
    let (keys, cells): (Vec<_>, Vec<_>) = added.unzip();
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
    let mut rows = Vec::with_capacity(keys.len());
    for (keys, cells) in keys.chunks(ROWS_AT_A_TIME).zip(cells.chunks(ROWS_AT_A_TIME)) {
        let stored = snapshot.get(partition, keys)?;
        for ((key, cells), stored) in keys.iter().zip(cells).zip(stored) {
            let mut row: StoredRow = stored.unwrap_or_default();
            row.advance(stamp, cells);
            rows.push(CounterRow { key: *key, row });
        }
        // A flush is in nobody's way: see `Counting`.
        std::thread::yield_now();
    }
    Ok(rows)
}
