//! The bytes of a row. One of one event takes seven to fifteen: a store writes a row for nearly every
//! event of a long tail, so bytes a row are bytes an event.
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
//! ```
//!
//! Counts, offsets and spreads are LEB128 varints; `min`, `value` and `sum` (an i128) zigzag ones.

use super::{Cell, Stamp, StoredRow};
use crate::bucket::Hour;
use crate::partition::Offset;
use crate::summary::Summary;

const ONE: u8 = 0;
const COUNT: u8 = 1;
const ONE_VALUE: u8 = 2;
const FULL: u8 = 3;

const EVERY_EVENT_HAS_A_VALUE: u8 = 1;
const ALL_VALUES_EQUAL: u8 = 2;

/// Why bytes are not what a store wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Too few bytes, or too many.
    #[error("the bytes end too early or too late")]
    Length,
    /// A number beyond its type.
    #[error("a number does not fit its type")]
    Number,
    /// Cells that are out of order or beyond the hour.
    #[error("cells are out of order or beyond the hour")]
    Slot,
    /// Marks that nobody writes.
    #[error("unknown marks")]
    Marks,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

/// Appends a row's bytes.
pub fn write_row(out: &mut Vec<u8>, row: &StoredRow) {
    let Stamp { log_epoch, base_offset, next_offset } = row.stamp;
    let has_base = base_offset != Offset(0);
    let has_hour = row.newest_hour.is_some();
    write_varint(
        out,
        (row.cells.len() as u64) << 2 | u64::from(has_hour) << 1 | u64::from(has_base),
    );
    write_varint(out, u64::from(log_epoch));
    write_varint(out, next_offset.0);
    if has_base {
        write_varint(out, base_offset.0);
    }
    if let Some(hour) = row.newest_hour {
        write_varint(out, u64::from(hour.0));
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
            write_varint(out, count);
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
    write_varint(out, count);
    if !every {
        write_varint(out, value_count);
    }
    zigzag(out, min.into());
    if !all_equal {
        write_varint(out, max.wrapping_sub(min) as u64);
        zigzag(out, sum);
    }
}

/// Reads a row.
///
/// # Errors
/// Where they are not a row.
pub fn read_row(bytes: &[u8]) -> Result<StoredRow, Damage> {
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

/// Appends a LEB128 varint.
pub fn write_varint(out: &mut Vec<u8>, mut number: u64) {
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
pub struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    /// The next bytes, so many.
    ///
    /// # Errors
    /// Where there are fewer.
    pub fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(*chunk)
    }

    /// The next byte.
    ///
    /// # Errors
    /// Where there is none.
    pub fn byte(&mut self) -> Result<u8, Damage> {
        self.chunk().map(|[byte]| byte)
    }

    /// The next LEB128 varint.
    ///
    /// # Errors
    /// Where there is none.
    pub fn varint(&mut self) -> Result<u64, Damage> {
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

    /// Says that there is no more.
    ///
    /// # Errors
    /// Where there is.
    pub fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Length) }
    }
}
