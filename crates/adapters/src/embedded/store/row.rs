//! The bytes of stored values. Those of a row are in [`model::counter::bytes`].
//!
//! ```text
//! checkpoint = log_epoch u32 | next_offset u64 | append_time i64 | window_start_offset u64
//!            | window_start_minute u32 | window_minutes u32
//!            | minutes are kept for i64 ms | hours are kept for i64 ms
//!            | first hour with minutes u32 | first day with hours u32, big-endian, 60 bytes;
//!              one of before has 36: everything is kept
//! dead letter = append_time i64 big-endian | length of reason varint | reason | record
//! source     = sequence i64 | append_time i64 | since u64, big-endian | refused ranges, see
//!              `model::refused`
//! bulk object = offset u64 | append_time i64, big-endian | the body of its control record
//! format     = u32 big-endian
//! ```
//!
//! Varints are LEB128.

use std::sync::Arc;

use model::bucket::TIME_MAX;
use model::checkpoint::Checkpoint;
use model::counter::bytes::write_varint;
pub(crate) use model::counter::bytes::{Damage, Reader, read_row, write_row};
use model::{
    BulkEntry, BulkObject, Day, DeadLetter, Horizons, Hour, Offset, RefusedRanges, Retention,
    SourceState, TimestampMs,
};

/// What this program writes and reads. Stores of the one before are brought up to date when they are opened.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// The bytes of a checkpoint.
pub(crate) fn write_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = Vec::with_capacity(60);
    out.extend_from_slice(&checkpoint.log_epoch.to_be_bytes());
    out.extend_from_slice(&checkpoint.next_offset.0.to_be_bytes());
    out.extend_from_slice(&checkpoint.append_time.0.to_be_bytes());
    out.extend_from_slice(&checkpoint.window_start_offset.0.to_be_bytes());
    out.extend_from_slice(&checkpoint.window_start_minute.to_be_bytes());
    out.extend_from_slice(&checkpoint.window_minutes.to_be_bytes());
    out.extend_from_slice(&checkpoint.retention.minute_ms().to_be_bytes());
    out.extend_from_slice(&checkpoint.retention.hour_ms().to_be_bytes());
    out.extend_from_slice(&checkpoint.horizons.minute().0.to_be_bytes());
    out.extend_from_slice(&checkpoint.horizons.hour().0.to_be_bytes());
    out
}

/// Reads a checkpoint.
pub(crate) fn read_checkpoint(bytes: &[u8]) -> Result<Checkpoint, Damage> {
    let mut reader = Reader(bytes);
    let mut checkpoint = Checkpoint {
        log_epoch: u32::from_be_bytes(reader.chunk()?),
        next_offset: Offset(u64::from_be_bytes(reader.chunk()?)),
        append_time: TimestampMs(i64::from_be_bytes(reader.chunk()?)),
        window_start_offset: Offset(u64::from_be_bytes(reader.chunk()?)),
        window_start_minute: u32::from_be_bytes(reader.chunk()?),
        window_minutes: u32::from_be_bytes(reader.chunk()?),
        retention: Retention::FOREVER,
        horizons: Horizons::default(),
    };
    if reader.end().is_ok() {
        return Ok(checkpoint);
    }
    let [minute_ms, hour_ms] = [reader.chunk()?, reader.chunk()?].map(i64::from_be_bytes);
    checkpoint.retention = Retention::new(minute_ms, hour_ms).ok_or(Damage::Number)?;
    let [minute, hour] = [reader.chunk()?, reader.chunk()?].map(u32::from_be_bytes);
    checkpoint.horizons = Horizons::new(Hour(minute), Day(hour))
        .filter(|horizons| horizons.minute() <= TIME_MAX.minute().hour())
        .ok_or(Damage::Number)?;
    reader.end()?;
    Ok(checkpoint)
}

/// The bytes of a source; its name is in the key.
pub(crate) fn write_source(state: &SourceState) -> Vec<u8> {
    let append_time = state.append_time.0.to_be_bytes();
    let mut out = [state.sequence.to_be_bytes(), append_time, state.since.0.to_be_bytes()].concat();
    state.refused.write(&mut out);
    out
}

/// Reads a source.
pub(crate) fn read_source(bytes: &[u8]) -> Result<SourceState, Damage> {
    let mut reader = Reader(bytes);
    let state = SourceState {
        sequence: i64::from_be_bytes(reader.chunk()?),
        append_time: TimestampMs(i64::from_be_bytes(reader.chunk()?)),
        since: Offset(u64::from_be_bytes(reader.chunk()?)),
        refused: Arc::new(RefusedRanges::read(reader.0).map_err(|_| Damage::Number)?),
    };
    Ok(state)
}

/// The bytes of a bulk object.
pub(crate) fn write_bulk(entry: &BulkEntry) -> Vec<u8> {
    let append_time = entry.append_time.0.to_be_bytes();
    [&entry.offset.0.to_be_bytes()[..], &append_time, &entry.object.body()].concat()
}

/// Reads a bulk object.
pub(crate) fn read_bulk(bytes: &[u8]) -> Result<BulkEntry, Damage> {
    let mut reader = Reader(bytes);
    let offset = Offset(u64::from_be_bytes(reader.chunk()?));
    let append_time = TimestampMs(i64::from_be_bytes(reader.chunk()?));
    let object = BulkObject::read(reader.0).map_err(|_| Damage::Length)?;
    Ok(BulkEntry { offset, append_time, object })
}

/// The bytes of a dead letter; its offset is in the key.
pub(crate) fn write_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    let reason = letter.reason.to_string();
    let mut out = letter.append_time.0.to_be_bytes().to_vec();
    write_varint(&mut out, reason.len() as u64);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(&letter.record);
    out
}

/// Reads a dead letter: append time, reason, record.
pub(crate) fn read_dead_letter(bytes: &[u8]) -> Result<(TimestampMs, &str, &[u8]), Damage> {
    let mut reader = Reader(bytes);
    let append_time = TimestampMs(i64::from_be_bytes(reader.chunk()?));
    let len = usize::try_from(reader.varint()?).map_err(|_| Damage::Length)?;
    let (reason, record) = reader.0.split_at_checked(len).ok_or(Damage::Length)?;
    Ok((append_time, std::str::from_utf8(reason).map_err(|_| Damage::Text)?, record))
}

#[cfg(test)]
mod tests;
