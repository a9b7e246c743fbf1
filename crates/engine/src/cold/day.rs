//! What the hours of a day counted, over all partitions: their rows merged by type and item, a page
//! of each hour in memory at a time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::{Day, Hour, PartitionId, Summary};

use crate::ports::{ColdRow, CounterSnapshot, NamedRow, PortError};

/// Rows in memory of all hours together.
const ROWS_MAX: usize = 64 << 10;
/// Rows read of an hour at a time, at least.
const PAGE_MIN: usize = 16;

/// See the module.
pub(super) struct DayRows<'a> {
    snapshot: &'a dyn CounterSnapshot,
    page_rows: usize,
    hours: Vec<HourRows>,
    /// The next row of each hour that has one: type, item, which hour.
    next: BinaryHeap<Reverse<(String, String, usize)>>,
}

struct HourRows {
    partition: PartitionId,
    hour: Hour,
    page: std::vec::IntoIter<NamedRow>,
    /// The numbers of the row that is next.
    summary: Summary,
}

impl<'a> DayRows<'a> {
    pub(super) fn new(
        snapshot: &'a dyn CounterSnapshot,
        partitions: &[PartitionId],
        day: Day,
    ) -> Result<Self, PortError> {
        let mut hours = Vec::new();
        for &partition in partitions {
            for hour in snapshot.hours(partition, day.0 * 24..(day.0 + 1) * 24)? {
                let (page, summary) = (Vec::new().into_iter(), Summary::EMPTY);
                hours.push(HourRows { partition, hour, page, summary });
            }
        }
        let page_rows = (ROWS_MAX / hours.len().max(1)).max(PAGE_MIN);
        let next = BinaryHeap::with_capacity(hours.len());
        let mut rows = Self { snapshot, page_rows, hours, next };
        for at in 0..rows.hours.len() {
            rows.advance(at, None)?;
        }
        Ok(rows)
    }

    /// Moves an hour on to the row behind the one of that name.
    fn advance(&mut self, at: usize, behind: Option<(&str, &str)>) -> Result<(), PortError> {
        let hour = &mut self.hours[at];
        if hour.page.len() == 0 {
            let page = self.snapshot.page(hour.partition, hour.hour, behind, self.page_rows)?;
            hour.page = page.into_iter();
        }
        if let Some((event_type, item, row)) = hour.page.next() {
            hour.summary = row.summary();
            self.next.push(Reverse((event_type, item, at)));
        }
        Ok(())
    }

    fn next_row(&mut self) -> Result<Option<ColdRow>, PortError> {
        let Some(Reverse((event_type, item, first))) = self.next.pop() else { return Ok(None) };
        let mut summary = self.hours[first].summary;
        self.advance(first, Some((&event_type, &item)))?;
        while let Some(Reverse((t, i, at))) = self.next.peek() {
            if (t, i) != (&event_type, &item) {
                break;
            }
            let at = *at;
            self.next.pop();
            summary.add(&self.hours[at].summary);
            self.advance(at, Some((&event_type, &item)))?;
        }
        Ok(Some(ColdRow { event_type, item, summary }))
    }
}

impl Iterator for DayRows<'_> {
    type Item = Result<ColdRow, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}
