//! Corrections: what a recount found to be stored otherwise than it was appended.
//!
//! A correction says what a cell was once everything below an offset was counted, and what it should
//! have been. Where its control record stands, the difference is added to the cell of that moment:
//! that is the same as setting the cell at that offset and counting on from there, because wrong and
//! right cells count on alike. Only least and greatest values cannot be subtracted.
//!
//! ```text
//! body  = generation u64 | known_offset u64 | cell*                    numbers little-endian
//! cell  = 00 | type | item | summary | summary                         a total: as it was, as it is to be
//!       | 01 | hour u32 | slot u8 | type | item | summary | summary    a cell of an hour row
//! text  = length u16 | UTF-8
//! summary = count u64 | value_count u64 | sum i128 | min i64 | max i64
//! ```

use crate::bucket::{Hour, TIME_MAX};
use crate::counter::Cell;
use crate::event::{check_item, check_type};
use crate::partition::Offset;
use crate::record::RecordError;
use crate::summary::Summary;

/// Corrections of one partition, all found by one recount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrections {
    /// Which repair they belong to; never 0.
    pub generation: u64,
    /// They were found when everything below this offset was counted, and nothing at or above it.
    pub known_offset: Offset,
    /// The cells, in key order.
    pub cells: Vec<Correction>,
}

/// One wrong cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Which cell; none for the total over all time.
    pub place: Option<HourCell>,
    /// The event type.
    pub event_type: String,
    /// The item.
    pub item: String,
    /// What the cell was.
    pub was: Summary,
    /// What it should have been.
    pub is: Summary,
}

/// A cell of an hour row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourCell {
    /// The hour.
    pub hour: Hour,
    /// The minute of it, or [`Cell::WHOLE`] for all cells of the row taken together.
    pub slot: u8,
}

/// Why a correction cannot be applied: the cell has changed in a way that leaves open what it
/// should be, and is to be counted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cell has changed since it was counted again")]
pub struct Changed;

impl Correction {
    /// The cell as it should be, where it is `now` and has only counted on since.
    pub fn apply(&self, now: &Summary) -> Result<Summary, Changed> {
        let (was, is) = (&self.was, &self.is);
        let count = add_difference(now.count, was.count, is.count)?;
        let value_count = add_difference(now.value_count, was.value_count, is.value_count)?;
        if value_count > count {
            return Err(Changed);
        }
        let sum = now.sum.checked_add(is.sum).and_then(|sum| sum.checked_sub(was.sum));
        let sum = sum.ok_or(Changed)?;
        if value_count == 0 {
            let without_values = Summary { count, ..Summary::EMPTY };
            return if sum == 0 { Ok(without_values) } else { Err(Changed) };
        }
        let has_new_values = now.value_count != was.value_count;
        let min = extreme(now.min, was.min, is.min, has_new_values, Ord::min)?;
        let max = extreme(now.max, was.max, is.max, has_new_values, Ord::max)?;
        Ok(Summary { count, value_count, sum, min, max })
    }
}

fn add_difference(now: u64, was: u64, is: u64) -> Result<u64, Changed> {
    // Who was counted below `was` meanwhile was not this cell counting on.
    let since = now.checked_sub(was).ok_or(Changed)?;
    is.checked_add(since).ok_or(Changed)
}

/// The extreme of what should have been and of what came since, which is known where it is more
/// extreme than what was, or where nothing came, or where it could not matter.
fn extreme(
    now: i64,
    was: i64,
    is: i64,
    has_new_values: bool,
    pick: fn(i64, i64) -> i64,
) -> Result<i64, Changed> {
    if !has_new_values {
        return Ok(is);
    }
    let came_beyond = pick(now, was) == now && now != was;
    let cannot_matter = pick(is, was) == is;
    if came_beyond || cannot_matter { Ok(pick(now, is)) } else { Err(Changed) }
}

const SUMMARY_BYTES: usize = 48;

impl Corrections {
    /// The bytes, see the module.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.known_offset.0.to_le_bytes());
        for cell in &self.cells {
            match cell.place {
                None => out.push(0),
                Some(HourCell { hour, slot }) => {
                    out.push(1);
                    out.extend_from_slice(&hour.0.to_le_bytes());
                    out.push(slot);
                }
            }
            write_text(&mut out, &cell.event_type);
            write_text(&mut out, &cell.item);
            write_summary(&mut out, &cell.was);
            write_summary(&mut out, &cell.is);
        }
        out
    }

    /// Reads what [`Self::body`] wrote.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn read(body: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(body);
        let generation = u64::from_le_bytes(reader.take()?);
        let known_offset = Offset(u64::from_le_bytes(reader.take()?));
        if generation == 0 {
            return Err(RecordError::Rule("a generation is never 0"));
        }
        let mut cells: Vec<Correction> = Vec::new();
        while !reader.0.is_empty() {
            let cell = reader.cell()?;
            if cells.last().is_some_and(|last| last.key() >= cell.key()) {
                return Err(RecordError::Rule("corrections are in key order"));
            }
            cells.push(cell);
        }
        Ok(Self { generation, known_offset, cells })
    }
}

impl Correction {
    /// In the order of a store's rows, cells of a row by slot.
    pub fn key(&self) -> (bool, Hour, &str, &str, u8) {
        match self.place {
            // Totals stand by item first.
            None => (false, Hour(0), &self.item, &self.event_type, 0),
            Some(HourCell { hour, slot }) => (true, hour, &self.event_type, &self.item, slot),
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn write_summary(out: &mut Vec<u8>, summary: &Summary) {
    let start = out.len();
    out.extend_from_slice(&summary.count.to_le_bytes());
    out.extend_from_slice(&summary.value_count.to_le_bytes());
    out.extend_from_slice(&summary.sum.to_le_bytes());
    out.extend_from_slice(&summary.min.to_le_bytes());
    out.extend_from_slice(&summary.max.to_le_bytes());
    debug_assert_eq!(out.len() - start, SUMMARY_BYTES);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        let len = usize::from(u16::from_le_bytes(self.take()?));
        let (head, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        std::str::from_utf8(head).map_err(|_| RecordError::Text)
    }

    fn summary(&mut self) -> Result<Summary, RecordError> {
        let summary = Summary {
            count: u64::from_le_bytes(self.take()?),
            value_count: u64::from_le_bytes(self.take()?),
            sum: i128::from_le_bytes(self.take()?),
            min: i64::from_le_bytes(self.take()?),
            max: i64::from_le_bytes(self.take()?),
        };
        let has_values = summary.value_count > 0;
        let is_empty = (summary.sum, summary.min, summary.max) == (0, i64::MAX, i64::MIN);
        match summary.value_count <= summary.count && has_values != is_empty {
            true => Ok(summary),
            false => Err(RecordError::Rule("a summary contradicts itself")),
        }
    }

    fn cell(&mut self) -> Result<Correction, RecordError> {
        let place = match self.take()? {
            [0] => None,
            [1] => {
                let hour = Hour(u32::from_le_bytes(self.take()?));
                let [slot] = self.take()?;
                if hour > TIME_MAX.minute().hour() || slot > Cell::WHOLE {
                    return Err(RecordError::Rule("no such hour or slot"));
                }
                Some(HourCell { hour, slot })
            }
            _ => return Err(RecordError::Branch),
        };
        let (event_type, item) = (self.text()?, self.text()?);
        check_type(event_type).map_err(|_| RecordError::Rule("the type"))?;
        check_item(item).map_err(|_| RecordError::Rule("the item"))?;
        let (event_type, item) = (event_type.to_owned(), item.to_owned());
        Ok(Correction { place, event_type, item, was: self.summary()?, is: self.summary()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    fn summary() -> impl Strategy<Value = Summary> {
        let event = proptest::option::of(-9_i64..9);
        proptest::collection::vec(event, 0..6).prop_map(|values| {
            let of = |micros: Option<i64>| {
                Summary::of(micros.map(|micros| Value::from_micros(micros).unwrap()))
            };
            values.into_iter().map(of).collect::<Vec<_>>().iter().sum()
        })
    }

    fn correction(was: Summary, is: Summary) -> Correction {
        let place = Some(HourCell { hour: Hour(500_000), slot: 7 });
        Correction { place, event_type: "view".into(), item: "v1".into(), was, is }
    }

    #[test]
    fn golden_bytes() {
        let was = Summary { count: 3, ..Summary::EMPTY };
        let is = Summary { count: 2, value_count: 1, sum: 5, min: 5, max: 5 };
        let corrections = Corrections {
            generation: 9,
            known_offset: Offset(258),
            cells: vec![Correction { place: None, ..correction(was, is) }, correction(was, is)],
        };
        let body = corrections.body();
        assert_eq!(body.len(), 16 + 2 * (1 + 6 + 4 + 96) + 5);
        assert_eq!(
            body[..24],
            [9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, b'v', b'i', b'e', b'w', 2]
        );
        assert_eq!(Corrections::read(&body), Ok(corrections));
        for cut in (17..body.len()).filter(|cut| *cut != 123) {
            assert!(Corrections::read(&body[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let one = correction(Summary::EMPTY, Summary { count: 1, ..Summary::EMPTY });
        let body = |cells: Vec<Correction>| {
            Corrections { generation: 1, known_offset: Offset(0), cells }.body()
        };
        assert!(Corrections::read(&body(vec![one.clone()])).is_ok());
        assert!(Corrections::read(&body(vec![one.clone(), one.clone()])).is_err());
        assert!(Corrections::read(&[0; 16]).is_err());
        let wild = Summary { value_count: 1, ..Summary::EMPTY };
        for wrong in [
            Correction { item: String::new(), ..one.clone() },
            Correction { event_type: "A".into(), ..one.clone() },
            Correction { place: Some(HourCell { hour: Hour(u32::MAX), slot: 0 }), ..one.clone() },
            Correction { place: Some(HourCell { hour: Hour(0), slot: 61 }), ..one.clone() },
            Correction { was: wild, ..one.clone() },
        ] {
            assert!(Corrections::read(&body(vec![wrong.clone()])).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// Applying later is setting the cell and counting on, or refused.
        #[test]
        fn applying_is_setting_and_counting_on(was in summary(), is in summary(), since in summary()) {
            let add = |cell: Summary| { let mut sum = cell; sum.add(&since); sum };
            match correction(was, is).apply(&add(was)) {
                Ok(cell) => prop_assert_eq!(cell, add(is)),
                Err(Changed) => prop_assert!(
                    since.value_count > 0 && (is.min > was.min || is.max < was.max)
                ),
            }
        }

        #[test]
        fn without_new_values_it_is_never_refused(was in summary(), is in summary(), count in 0_u64..5) {
            let now = Summary { count: was.count + count, ..was };
            let expected = Summary { count: is.count + count, ..is };
            prop_assert_eq!(correction(was, is).apply(&now), Ok(expected));
        }
    }
}
