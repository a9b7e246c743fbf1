//! Reads rows ahead of the flushes that will want them: what a process starts with is not known otherwise before it
//! was asked for, row by row.

use std::ops::ControlFlow;

use model::{Hour, PartitionId, RowKey, StoredRow};
use parking_lot::Mutex;

use super::known::KnownRows;
use crate::ports::{CounterSnapshot, NamedRow, PortError};

/// Totals taken at a time.
const ROWS_AT_A_TIME: usize = 128;

/// The rows of an item and type, of one snapshot.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// Which item.
    pub item: String,
    /// Which type.
    pub event_type: String,
    /// The total's row.
    pub total: StoredRow,
    /// The row of the total's newest hour; none where that was not read.
    pub hour: Option<StoredRow>,
}

/// Adds to totals the rows of their newest hours, where these are not before `from`.
///
/// # Errors
/// When the store cannot be read.
pub fn with_hours(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    totals: Vec<NamedRow>,
    from: Hour,
) -> Result<Vec<ReadRow>, PortError> {
    let newest = |total: &StoredRow| total.newest_hour.filter(|hour| *hour >= from);
    let keys: Vec<_> = totals
        .iter()
        .filter_map(|(event_type, item, total)| {
            newest(total).map(|hour| RowKey::Hour { hour, event_type, item })
        })
        .collect();
    let mut hours = snapshot.get(partition, &keys)?.into_iter();
    let with_hour = |(event_type, item, total): NamedRow| {
        let hour = newest(&total).and_then(|_| hours.next().flatten());
        ReadRow { item, event_type, total, hour }
    };
    Ok(totals.into_iter().map(with_hour).collect())
}

/// Makes the totals of a snapshot known, and what their newest hours have from an hour on. The snapshot is that of
/// [`KnownRows::begin_reading`].
pub(super) fn read_ahead(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    from: Hour,
    known: &Mutex<KnownRows>,
    is_over: impl Fn() -> bool,
) -> Result<(), PortError> {
    let take = |totals: &mut Vec<NamedRow>| {
        let totals = std::mem::replace(totals, Vec::with_capacity(ROWS_AT_A_TIME));
        let rows = with_hours(snapshot, partition, totals, from)?;
        // Flushes and answers first.
        std::thread::yield_now();
        Ok(!is_over() && known.lock().read(&rows))
    };
    let (mut totals, mut goes_on) = (Vec::with_capacity(ROWS_AT_A_TIME), Ok(true));
    snapshot.scan_totals(partition, &mut |item, event_type, total| {
        totals.push((event_type.to_owned(), item.to_owned(), total));
        if totals.len() == ROWS_AT_A_TIME {
            goes_on = take(&mut totals);
        }
        match goes_on {
            Ok(true) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    })?;
    if goes_on? && take(&mut totals)? {
        known.lock().end_reading();
    }
    Ok(())
}
