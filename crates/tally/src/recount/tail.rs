//! What only the log has: the records behind the newest raw file, as a recount reads them.

use batch::{Control, Event, Recount};
use bytes::Bytes;
use engine::ports::{EventLog, PortError};
use futures::executor::block_on;
use model::record::{Record, split};
use model::{Batch, Offset, PartitionId};

use super::Stopped;

/// Payload read from the log at a time.
const READ_BYTES: usize = 1 << 20;

/// Gives the records of `[from, to)` to a recount; `go_on` hears how many at a time.
pub(super) fn read(
    log: &dyn EventLog,
    partition: PartitionId,
    mut from: Offset,
    to: Offset,
    recount: &mut Recount,
    go_on: &mut dyn FnMut(u64) -> bool,
) -> anyhow::Result<()> {
    while from < to {
        for batch in block_on(log.read(partition, from, READ_BYTES))? {
            give(&batch, from, to, recount)?;
            let next = batch.next_offset().min(to).max(from);
            if !go_on(next.0 - from.0) {
                return Err(Stopped.into());
            }
            from = next;
        }
    }
    Ok(())
}

fn give(
    batch: &Batch<Bytes>,
    from: Offset,
    to: Offset,
    recount: &mut Recount,
) -> Result<(), batch::Error> {
    let mut offset = batch.base_offset;
    for record in split(&batch.payload) {
        let place = offset;
        offset = offset.plus(1);
        let Ok(bytes) = record else { continue };
        if !(from..to).contains(&place) {
            continue;
        }
        if batch.is_control {
            let (offset, append_ms) = (place.0, batch.append_time.0);
            recount.control(&Control { offset, append_ms, bytes: bytes.to_vec() })?;
        } else if let Ok(record) = Record::read(bytes) {
            recount.event(&Event {
                offset: place.0,
                append_ms: batch.append_time.0,
                id: &record.id_text(),
                item: record.item,
                event_type: record.event_type,
                time_ms: record.time.0,
                micros: record.value.map(model::Value::micros),
                source: record.source,
            });
        }
    }
    Ok(())
}

/// The append time of the oldest record that the log still has; none where it lost none.
///
/// # Errors
/// The log's.
pub(super) fn oldest_ms(
    log: &dyn EventLog,
    partition: PartitionId,
) -> Result<Option<i64>, PortError> {
    let bounds = log.bounds(partition);
    if bounds.start_offset == Offset(0) {
        return Ok(None);
    }
    let batches = block_on(log.read(partition, bounds.start_offset, 1))?;
    Ok(batches.first().map(|batch| batch.append_time.0))
}
