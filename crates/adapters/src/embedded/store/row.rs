//! The bytes of stored values. A row of one event takes seven to fifteen bytes: the store writes a
//! row for nearly every event of a long tail, so bytes a row are bytes an event.
//!
//! ```text
//! row        = head | log_epoch | next_offset | base_offset? | newest_hour? | cell*
//!              head varint: number of cells << 2 | newest_hour is present << 1
//!                           | base_offset is present (else it is 0)
//! cell       = slot << 2 | shape, one byte; then by shape
//!              0  nothing: one event without a value
//!              1  count: events without a value
//!              2  value: one event with a value
//!              3  marks | count | value_count? | min | spread? | sum?
//! marks      = one byte; bit 0: value_count is count, and left out
//!                        bit 1: all values are min; spread and sum are left out
//! spread     = max - min modulo 2^64
//!
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
//! Counts, offsets and spreads are LEB128 varints; `min`, `value` and `sum` (an i128) zigzag ones.

use std::sync::Arc;

use model::bucket::TIME_MAX;
use model::checkpoint::Checkpoint;
use model::{
    BulkEntry, BulkObject, Cell, Day, DeadLetter, Horizons, Hour, Offset, RefusedRanges, Retention,
    SourceState, Stamp, StoredRow, Summary, TimestampMs,
};

/// What this program writes and reads. Stores of the one before are brought up to date when they are opened.
pub(crate) const FORMAT_VERSION: u32 = 2;

const ONE: u8 = 0;
const COUNT: u8 = 1;
const ONE_VALUE: u8 = 2;
const FULL: u8 = 3;

const EVERY_EVENT_HAS_A_VALUE: u8 = 1;
const ALL_VALUES_EQUAL: u8 = 2;

/// Why bytes are not what the store wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("the bytes end too early or too late")]
    Length,
    #[error("a number does not fit its type")]
    Number,
    #[error("cells are out of order or beyond the hour")]
    Slot,
    #[error("unknown marks")]
    Marks,
    #[error("a text is not UTF-8")]
    Text,
}

/// Appends a row's bytes.
pub(crate) fn write_row(out: &mut Vec<u8>, row: &StoredRow) {
    let Stamp { log_epoch, base_offset, next_offset } = row.stamp;
    let has_base = base_offset != Offset(0);
    let has_hour = row.newest_hour.is_some();
    varint(out, (row.cells.len() as u64) << 2 | u64::from(has_hour) << 1 | u64::from(has_base));
    varint(out, u64::from(log_epoch));
    varint(out, next_offset.0);
    if has_base {
        varint(out, base_offset.0);
    }
    if let Some(hour) = row.newest_hour {
        varint(out, u64::from(hour.0));
    }
    for cell in &row.cells {
        write_cell(out, cell);
    }
}

fn write_cell(out: &mut Vec<u8>, cell: &Cell) {
    let Summary { count, value_count, sum, min, max } = cell.summary;
    debug_assert!(cell.slot <= Cell::WHOLE);
    let head = |shape| cell.slot << 2 | shape;
    if cell.summary == (Summary { count, ..Summary::EMPTY }) {
        if count == 1 {
            out.push(head(ONE));
        } else {
            out.push(head(COUNT));
            varint(out, count);
        }
        return;
    }
    let all_equal = min == max && i128::from(min).checked_mul(value_count.into()) == Some(sum);
    if all_equal && count == 1 && value_count == 1 {
        out.push(head(ONE_VALUE));
        zigzag(out, min.into());
        return;
    }
    out.push(head(FULL));
    let every = value_count == count;
    out.push(
        if every { EVERY_EVENT_HAS_A_VALUE } else { 0 }
            | if all_equal { ALL_VALUES_EQUAL } else { 0 },
    );
    varint(out, count);
    if !every {
        varint(out, value_count);
    }
    zigzag(out, min.into());
    if !all_equal {
        varint(out, max.wrapping_sub(min) as u64);
        zigzag(out, sum);
    }
}

/// Reads a row.
pub(crate) fn read_row(bytes: &[u8]) -> Result<StoredRow, Damage> {
    let mut reader = Reader(bytes);
    let head = reader.varint()?;
    let log_epoch = u32::try_from(reader.varint()?).map_err(|_| Damage::Number)?;
    let next_offset = Offset(reader.varint()?);
    let base_offset = Offset(if head & 1 == 1 { reader.varint()? } else { 0 });
    let newest_hour = match head & 2 {
        0 => None,
        _ => Some(Hour(u32::try_from(reader.varint()?).map_err(|_| Damage::Number)?)),
    };
    // A cell takes a byte at least: no count, however wrong, makes room for more than there is.
    let cell_count = usize::try_from(head >> 2).map_err(|_| Damage::Length)?;
    if cell_count > reader.0.len() {
        return Err(Damage::Length);
    }
    let mut cells = Vec::with_capacity(cell_count);
    let mut slots = 0..=Cell::WHOLE;
    for _ in 0..cell_count {
        let cell = reader.cell()?;
        if !slots.contains(&cell.slot) {
            return Err(Damage::Slot);
        }
        slots = cell.slot + 1..=Cell::WHOLE;
        cells.push(cell);
    }
    reader.end()?;
    Ok(StoredRow { stamp: Stamp { log_epoch, base_offset, next_offset }, cells, newest_hour })
}

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
    varint(&mut out, reason.len() as u64);
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

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(out: &mut Vec<u8>, number: i128) {
    let mut rest = ((number << 1) ^ (number >> 127)) as u128;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads from the front of a value.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(*chunk)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        self.chunk().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte holds the highest bit alone.
            if shift == 63 && byte > 1 {
                return Err(Damage::Number);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage::Number)
    }

    fn zigzag(&mut self) -> Result<i128, Damage> {
        let mut number = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            // The nineteenth byte holds the two highest bits alone.
            if shift == 126 && byte > 3 {
                return Err(Damage::Number);
            }
            number |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1) as i128 ^ -((number & 1) as i128));
            }
        }
        Err(Damage::Number)
    }

    fn value(&mut self) -> Result<i64, Damage> {
        i64::try_from(self.zigzag()?).map_err(|_| Damage::Number)
    }

    fn cell(&mut self) -> Result<Cell, Damage> {
        let head = self.byte()?;
        let summary = match head & 3 {
            ONE => Summary { count: 1, ..Summary::EMPTY },
            COUNT => Summary { count: self.varint()?, ..Summary::EMPTY },
            ONE_VALUE => {
                let value = self.value()?;
                Summary { count: 1, value_count: 1, sum: value.into(), min: value, max: value }
            }
            _ => self.full()?,
        };
        Ok(Cell { slot: head >> 2, summary })
    }

    fn full(&mut self) -> Result<Summary, Damage> {
        let marks = self.byte()?;
        if marks > (EVERY_EVENT_HAS_A_VALUE | ALL_VALUES_EQUAL) {
            return Err(Damage::Marks);
        }
        let count = self.varint()?;
        let every = marks & EVERY_EVENT_HAS_A_VALUE != 0;
        let value_count = if every { count } else { self.varint()? };
        let min = self.value()?;
        let (max, sum) = if marks & ALL_VALUES_EQUAL != 0 {
            // A product of an i64 and a u64 fits an i128.
            (min, i128::from(min) * i128::from(value_count))
        } else {
            (min.wrapping_add(self.varint()? as i64), self.zigzag()?)
        };
        Ok(Summary { count, value_count, sum, min, max })
    }

    pub(crate) fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Length) }
    }
}

#[cfg(test)]
mod tests;
