//! Where an event counts: a minute, a whole hour or a whole day, as a number that sorts by time.
//!
//! ```text
//! bits 63..6  hour since 1970
//! bits  5..0  0 to 59 a minute of it, 60 the whole hour, 61 the whole day that begins with it
//! ```

use crate::bucket::{Day, Hour, Minute};
use crate::counter::Cell;

/// The cell of a day, which has a row of its own.
const DAY: u8 = Cell::WHOLE + 1;
const CELL_BITS: u32 = 6;
const _: () = assert!((DAY as u32) < 1 << CELL_BITS);

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u64);

/// The row and the cell of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotPlace {
    /// A cell of an hour's row: a minute of it or [`Cell::WHOLE`].
    Hour(Hour, u8),
    /// The only cell of a day's row.
    Day(Day),
}

impl Slot {
    fn new(hour: u32, cell: u8) -> Self {
        Self(u64::from(hour) << CELL_BITS | u64::from(cell))
    }

    /// A minute.
    pub fn minute(minute: Minute) -> Self {
        Self::new(minute.hour().0, minute.of_hour())
    }

    /// A whole hour.
    pub fn hour(hour: Hour) -> Self {
        Self::new(hour.0, Cell::WHOLE)
    }

    /// A whole day.
    pub fn day(day: Day) -> Self {
        Self::new(day.0 * 24, DAY)
    }

    /// Where it is stored.
    pub fn place(self) -> SlotPlace {
        let (hour, cell) = self.parts();
        match cell {
            DAY => SlotPlace::Day(hour.day()),
            cell => SlotPlace::Hour(hour, cell),
        }
    }

    /// The first minute of the bucket.
    pub fn start(self) -> Minute {
        match self.parts() {
            (hour, cell) if cell < Cell::WHOLE => hour.minute(cell),
            (hour, _) => hour.minute(0),
        }
    }

    /// The last slot that can begin in the hour of a minute.
    pub(crate) fn last_of_hour(minute: Minute) -> Self {
        Self::new(minute.hour().0, DAY)
    }

    fn parts(self) -> (Hour, u8) {
        (Hour((self.0 >> CELL_BITS) as u32), (self.0 & ((1 << CELL_BITS) - 1)) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::TIME_MAX;

    #[test]
    fn slots_sort_by_time_and_say_where_they_are_stored() {
        let last = TIME_MAX.minute();
        let all = [
            Slot::minute(Minute(0)),
            Slot::minute(Minute(59)),
            Slot::hour(Hour(0)),
            Slot::day(Day(0)),
            Slot::minute(Minute(60)),
            Slot::hour(Hour(23)),
            Slot::hour(Hour(24)),
            Slot::day(Day(1)),
            Slot::minute(last),
            Slot::hour(last.hour()),
        ];
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        assert_eq!(Slot::minute(Minute(61)).place(), SlotPlace::Hour(Hour(1), 1));
        assert_eq!(Slot::hour(Hour(30)).place(), SlotPlace::Hour(Hour(30), Cell::WHOLE));
        assert_eq!(Slot::day(Day(2)).place(), SlotPlace::Day(Day(2)));
        assert_eq!(Slot::minute(last).start(), last);
        assert_eq!(Slot::hour(Hour(30)).start(), Minute(1_800));
        assert_eq!(Slot::day(Day(2)).start(), Minute(2_880));
    }
}
