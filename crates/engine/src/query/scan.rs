//! Counters for others to read: all that store and memory hold at one moment, each event in exactly
//! one part. What the hours of cold days counted is in their files, and no part of it.

use std::ops::ControlFlow;

use model::aggregate::MemoryTable;
use model::slot::SlotPlace;
use model::{
    Cell, Day, Granularity, Hour, Offset, PartitionId, RowKey, Slot, StoredRow, Summary, TimeRange,
    TimestampMs,
};

use super::ahead::{Ahead, RowOf};
use super::cover::{Cover, Pinned};
use super::{Query, QueryError};
use crate::ports::CounterSnapshot;
use crate::processor::Partition;

/// Which counters are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterScope {
    /// Those whose bucket begins in the range, rounded outwards to what is kept.
    pub range: TimeRange,
    /// Only this event type.
    pub event_type: Option<String>,
    /// Only this item.
    pub item: Option<String>,
}

/// What holds for all parts of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanHead {
    /// The first day whose hours are not in cold files: to the parts belong the files of exactly the
    /// days before it.
    pub cold_until: Day,
    /// Everything acknowledged before this time is in.
    pub as_of: TimestampMs,
}

/// Some events of a bucket of an item and type; the parts of a bucket are to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterPart<'a> {
    /// The item.
    pub item: &'a str,
    /// The event type.
    pub event_type: &'a str,
    /// The finest that is kept of its time: minute, hour or day.
    pub granularity: Granularity,
    /// Start of the bucket.
    pub start: TimestampMs,
    /// The numbers; the count is above 0.
    pub summary: &'a Summary,
}

/// Takes parts, and says whether it wants more.
pub type EachPart<'a> = dyn FnMut(&CounterPart<'_>) -> ControlFlow<()> + 'a;

/// What the memory of a partition holds: item, type, the first offset of the table, when, how much.
type MemoryCells = Vec<(String, String, Offset, Slot, Summary)>;

impl CounterScope {
    fn takes(&self, item: &str, event_type: &str) -> bool {
        self.item.as_ref().is_none_or(|only| only == item)
            && self.event_type.as_ref().is_none_or(|only| only == event_type)
    }
}

impl Query {
    /// Calls `begin` once, and then `each` with every part in a scope, in no order, until it breaks
    /// off. It reads every row of the range unless item and type are given: call it off the threads
    /// that answer requests.
    pub fn scan(
        &self,
        scope: &CounterScope,
        begin: &mut dyn FnMut(ScanHead),
        each: &mut EachPart<'_>,
    ) -> Result<(), QueryError> {
        self.ready()?;
        let partitions: Vec<&Partition> = match &scope.item {
            Some(item) => self.partitions_of(item)?,
            None => self.processors.partitions.iter().map(|partition| &**partition).collect(),
        };
        let look = |tables: &[&MemoryTable], range| {
            let mut cells = MemoryCells::new();
            for table in tables {
                table.for_each_cell(range, |item, event_type, slot, summary| {
                    if scope.takes(item, event_type) {
                        let (item, event_type) = (item.to_owned(), event_type.to_owned());
                        cells.push((item, event_type, table.from(), slot, *summary));
                    }
                });
            }
            cells
        };
        let (cover, pinned) = self.pin_all(&partitions, scope.range, look)?;
        begin(ScanHead { cold_until: cover.cold_until, as_of: cover.quality.as_of });
        for pinned in pinned {
            let ahead = pinned.ahead();
            let Pinned { partition, snapshot, memory, .. } = pinned;
            let mut parts = Parts { cover: &cover, scope, each, ahead, is_over: false };
            parts.rows(&*snapshot, partition.id)?;
            for (item, event_type, from, slot, summary) in memory {
                let row = || (item.clone(), event_type.clone(), RowOf::from(slot));
                if parts.ahead.lacks(from, row) {
                    parts.slot(&item, &event_type, slot, &summary);
                }
            }
            if parts.is_over {
                break;
            }
        }
        Ok(())
    }
}

/// Gives parts to whoever asked, as long as they are wanted.
struct Parts<'a, 'e> {
    cover: &'a Cover,
    scope: &'a CounterScope,
    each: &'a mut EachPart<'e>,
    /// By item and type.
    ahead: Ahead<(String, String, RowOf)>,
    is_over: bool,
}

impl Parts<'_, '_> {
    /// The rows of a partition, an hour or day at a time, so that breaking off is soon heard.
    fn rows(&mut self, snapshot: &dyn CounterSnapshot, id: PartitionId) -> Result<(), QueryError> {
        let (hours, days, scope) = (self.cover.hours(), self.cover.days(), self.scope);
        if let CounterScope { item: Some(item), event_type: Some(event_type), .. } = scope {
            let mut of_row = |hour, row: StoredRow| self.hour_row(item, event_type, hour, &row);
            snapshot.scan_item(id, item, event_type, hours, &mut of_row)?;
            let days = snapshot.days(id, days)?;
            let keys: Vec<_> =
                days.iter().map(|&day| RowKey::Day { day, event_type, item }).collect();
            for (day, row) in days.iter().zip(snapshot.get(id, &keys)?) {
                if let Some(row) = row {
                    self.day_row(item, event_type, *day, &row);
                }
            }
            return Ok(());
        }
        for hour in snapshot.hours(id, hours)? {
            if self.is_over {
                return Ok(());
            }
            match &scope.event_type {
                Some(event_type) => {
                    snapshot.scan_hour(id, hour, event_type, &mut |item, row| {
                        self.hour_row(item, event_type, hour, &row);
                    })?
                }
                None => {
                    let mut of_row = |hour, event_type: &str, item: &str, row: StoredRow| {
                        self.hour_row(item, event_type, hour, &row);
                    };
                    snapshot.scan_hours(id, hour.0..hour.0 + 1, &mut of_row)?;
                }
            }
        }
        for day in snapshot.days(id, days)? {
            if self.is_over {
                return Ok(());
            }
            let mut of_row = |day, event_type: &str, item: &str, row: StoredRow| {
                self.day_row(item, event_type, day, &row);
            };
            snapshot.scan_days(id, day.0..day.0 + 1, &mut of_row)?;
        }
        Ok(())
    }

    fn hour_row(&mut self, item: &str, event_type: &str, hour: Hour, row: &StoredRow) {
        let key = || (item.to_owned(), event_type.to_owned(), RowOf::Hour(hour));
        self.ahead.note(row, key);
        self.hour(item, event_type, hour, row);
    }

    fn day_row(&mut self, item: &str, event_type: &str, day: Day, row: &StoredRow) {
        let key = || (item.to_owned(), event_type.to_owned(), RowOf::Day(day));
        self.ahead.note(row, key);
        self.day(item, event_type, day, &row.summary());
    }

    fn slot(&mut self, item: &str, event_type: &str, slot: Slot, summary: &Summary) {
        match slot.place() {
            SlotPlace::Day(day) => self.day(item, event_type, day, summary),
            SlotPlace::Hour(hour, slot) => {
                let row = StoredRow {
                    cells: vec![Cell { slot, summary: *summary }],
                    ..StoredRow::default()
                };
                self.hour(item, event_type, hour, &row);
            }
        }
    }

    /// A row of an hour, as coarsely as its time is kept now: rows are folded later than that.
    fn hour(&mut self, item: &str, event_type: &str, hour: Hour, row: &StoredRow) {
        let horizons = self.cover.horizons;
        if hour.day() < horizons.hour() {
            return self.day(item, event_type, hour.day(), &row.summary());
        }
        if hour < horizons.minute() {
            let (granularity, start) = (Granularity::Hour, hour.start());
            return self.give(item, event_type, granularity, start, &row.summary());
        }
        for Cell { slot, summary } in &row.cells {
            let minute = hour.minute(slot % Cell::WHOLE);
            if self.cover.range.contains(minute) {
                let is_whole = *slot == Cell::WHOLE;
                let granularity = if is_whole { Granularity::Hour } else { Granularity::Minute };
                self.give(item, event_type, granularity, minute.start(), summary);
            }
        }
    }

    fn day(&mut self, item: &str, event_type: &str, day: Day, summary: &Summary) {
        self.give(item, event_type, Granularity::Day, day.start(), summary);
    }

    fn give(
        &mut self,
        item: &str,
        event_type: &str,
        granularity: Granularity,
        start: TimestampMs,
        summary: &Summary,
    ) {
        // What was corrected may count nothing any more.
        if self.is_over || summary.count == 0 || !self.scope.takes(item, event_type) {
            return;
        }
        let part = CounterPart { item, event_type, granularity, start, summary };
        self.is_over = (self.each)(&part).is_break();
    }
}
