//! Where raw files end: at every multiple of 2^20 offsets and where the append hour changes, so
//! that whoever archives a log makes the same files of it. For a log with one clock and one writer; others
//! are looked through by [`super::scan`].

use futures::executor::block_on;
use model::bucket::{HOUR_MS, MINUTE_MS};
use model::{Hour, Offset, PartitionId, TimestampMs};

use crate::ports::{ErrorKind, EventLog, PortError, RawFile};

/// Offsets of a file at most; files end at its multiples.
pub(super) const FILE_OFFSETS: u64 = 1 << 20;

/// An hour has ended for good when the log's clock has left it for so long: what was appended in
/// it has become durable, or a later record says that the hour is over.
pub(super) const HOUR_OVER_MS: i64 = MINUTE_MS;

/// The file that begins at `from`, whose hour is `hour`, as soon as its end is known.
pub(super) fn next_cut(
    log: &dyn EventLog,
    partition: PartitionId,
    from: Offset,
    hour: Hour,
) -> Result<Option<RawFile>, PortError> {
    // The clock before the end: what is appended between the two belongs to neither.
    let now = log.append_time().ok();
    let durable = log.bounds(partition).durable_offset;
    let full = Offset((from.0 / FILE_OFFSETS + 1) * FILE_OFFSETS);
    let hour_end = hour.start().0 + HOUR_MS;
    let is_full = durable >= full;
    // Nothing in the log is of a later time than its clock's.
    if from >= durable || (!is_full && now.is_some_and(|now| now.0 < hour_end)) {
        return Ok(None);
    }
    let end = durable.min(full);
    let is_over = now.is_some_and(|now| now.0 >= hour_end + HOUR_OVER_MS);
    let to = if hour_at(log, partition, Offset(end.0 - 1))? != hour {
        hour_change(log, partition, from, end)?
    } else if is_full || is_over {
        end
    } else {
        return Ok(None);
    };
    Ok(Some(RawFile { partition, from, to, hour }))
}

/// The append hour of a record.
pub(super) fn hour_at(
    log: &dyn EventLog,
    partition: PartitionId,
    offset: Offset,
) -> Result<Hour, PortError> {
    let batches = block_on(log.read(partition, offset, 1))?;
    let batch = batches.iter().find(|batch| batch.next_offset() > offset).ok_or_else(|| {
        let context = format!("partition {partition} gave nothing for offset {offset}");
        PortError::new(ErrorKind::Corrupt, context)
    })?;
    hour_of(batch.append_time).ok_or_else(|| {
        let context = format!("partition {partition} has a wild append time at offset {offset}");
        PortError::new(ErrorKind::Corrupt, context)
    })
}

pub(super) fn hour_of(time: TimestampMs) -> Option<Hour> {
    let time = time.checked().ok()?;
    Some(time.minute().hour())
}

/// The first record of another hour than the one at `from`; the one before `end` is such. Append
/// times never go back.
fn hour_change(
    log: &dyn EventLog,
    partition: PartitionId,
    from: Offset,
    end: Offset,
) -> Result<Offset, PortError> {
    let hour = hour_at(log, partition, from)?;
    let (mut same, mut other) = (from.0, end.0 - 1);
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if hour_at(log, partition, Offset(middle))? == hour {
            same = middle;
        } else {
            other = middle;
        }
    }
    Ok(Offset(other))
}
