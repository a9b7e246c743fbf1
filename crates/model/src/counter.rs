//! What a counter store holds: rows of absolute numbers, stamped with the log prefix they count.
//!
//! A row is one item and event type, either over all time or over one hour with a cell for each
//! minute that has an event. An hour is the sum of its minutes and a day the sum of its hours, so
//! an event opens two rows at most however long the tail of items is. What came when a day's hours
//! were no longer kept has a row of that day, which is added.

pub mod bytes;

use crate::bucket::{Day, Hour};
use crate::partition::Offset;
use crate::summary::Summary;

/// Which row of a partition. The order of keys is: totals by item and type, then hours by hour,
/// type and item, so that all items of an hour lie side by side, then days alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey<'a> {
    /// Everything ever counted of an item and type.
    Total {
        /// The item.
        item: &'a str,
        /// The event type.
        event_type: &'a str,
    },
    /// One hour of an item and type.
    Hour {
        /// The hour.
        hour: Hour,
        /// The event type.
        event_type: &'a str,
        /// The item.
        item: &'a str,
    },
    /// What of one day of an item and type came when its hours were no longer kept.
    Day {
        /// The day.
        day: Day,
        /// The event type.
        event_type: &'a str,
        /// The item.
        item: &'a str,
    },
}

/// The stretch of log that a row has counted: `[base_offset, next_offset)` of `log_epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Identity of the log; it rises, and orders before the offset.
    pub log_epoch: u32,
    /// The first offset that the row may have counted; above 0 once an archive cut was made.
    pub base_offset: Offset,
    /// The first offset that the row has not counted.
    pub next_offset: Offset,
}

/// One part of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The minute of the hour, 0 to 59, or [`Cell::WHOLE`].
    pub slot: u8,
    /// The numbers.
    pub summary: Summary,
}

impl Cell {
    /// The slot of a cell that covers the whole row: a total, or an hour whose minutes are no
    /// longer kept.
    pub const WHOLE: u8 = 60;
}

/// What a store holds under a [`RowKey`]: absolute numbers, at most one cell a slot, in slot order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRow {
    /// The log prefix that these numbers count.
    pub stamp: Stamp,
    /// The numbers by slot.
    pub cells: Vec<Cell>,
    /// Of a total: the newest hour that has a row of its own. A flush asks the store only for hour
    /// rows up to there; on a long tail most are newer, and a row that is not there is the dearest
    /// one to look for.
    pub newest_hour: Option<Hour>,
}

impl StoredRow {
    /// A row of nothing but newly counted cells.
    pub fn begin(from: Stamp, cells: Vec<Cell>) -> Self {
        let stamp = Stamp { base_offset: Offset(0), ..from };
        Self { stamp, cells, newest_hour: None }
    }

    /// Adds newly counted cells, in slot order, and moves the stamp on. A row that stands where the stamp
    /// ends has counted them in a flush of the same table that failed half way, and stays as it is.
    ///
    /// # Panics
    /// When the row has already counted past the first of the new offsets: adding would count
    /// events twice. The checkpoint is flushed with the rows, so only a bug gets here.
    pub fn advance(&mut self, from: Stamp, cells: &[Cell]) {
        if self.has_counted(from) {
            return;
        }
        assert!(
            (self.stamp.log_epoch, self.stamp.next_offset) <= (from.log_epoch, from.base_offset),
            "a row stamped {:?} cannot take events from {:?}",
            self.stamp,
            from
        );
        self.stamp.log_epoch = from.log_epoch;
        self.stamp.next_offset = from.next_offset;
        for cell in cells {
            match self.cells.binary_search_by_key(&cell.slot, |own| own.slot) {
                Ok(at) => self.cells[at].summary.add(&cell.summary),
                Err(at) => self.cells.insert(at, *cell),
            }
        }
    }

    /// Whether the row stands exactly where a stamp ends.
    pub fn has_counted(&self, from: Stamp) -> bool {
        let end = |stamp: Stamp| (stamp.log_epoch, stamp.next_offset);
        end(self.stamp) == end(from)
    }

    /// Makes one cell of all, where that is shorter; whether it was. The sum stays.
    pub fn fold(&mut self) -> bool {
        let is_longer = self.cells.len() > 1;
        if is_longer {
            self.cells = vec![Cell { slot: Cell::WHOLE, summary: self.summary() }];
        }
        is_longer
    }

    /// The sum of all cells.
    pub fn summary(&self) -> Summary {
        self.cells.iter().map(|cell| &cell.summary).sum()
    }
}
