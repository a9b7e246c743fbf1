//! All of a memory table in the order of the store's keys, as a flush adds it to rows.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Entry, MemoryTable};
use crate::bucket::{Day, Hour, TimeRange};
use crate::counter::Cell;
use crate::slot::SlotPlace;
use crate::summary::Summary;

/// What a flush adds to one total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalCell<'a> {
    /// The item.
    pub item: &'a str,
    /// The event type.
    pub event_type: &'a str,
    /// The sum of all slots.
    pub summary: Summary,
    /// The newest hour among them; none where all are days.
    pub newest_hour: Option<Hour>,
}

/// The cells of one hour row that a flush adds to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourCells<'a> {
    /// The hour.
    pub hour: Hour,
    /// The event type.
    pub event_type: &'a str,
    /// The item.
    pub item: &'a str,
    /// The newly counted cells, in slot order.
    pub cells: Vec<Cell>,
    /// Which of the totals is that of the same item and type.
    pub total: usize,
}

/// What a flush adds to one day row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayCell<'a> {
    /// The day.
    pub day: Day,
    /// The event type.
    pub event_type: &'a str,
    /// The item.
    pub item: &'a str,
    /// The numbers.
    pub summary: Summary,
    /// Which of the totals is that of the same item and type.
    pub total: usize,
}

/// All of a table in the order of the store's keys. What it has of a row is made when it is asked for: together
/// it takes more memory than the table.
pub struct SortedCells<'a> {
    table: &'a MemoryTable,
    /// The entries by item and type, one for each total.
    totals: Vec<u32>,
    /// By hour, type and item; each with which of the totals is of the same item and type.
    hours: Vec<(Hour, u32)>,
    written: Vec<(Hour, &'a str)>,
    /// By day, type and item.
    days: Vec<(Day, u32)>,
}

impl MemoryTable {
    /// Everything in the order of the store's keys. It takes some ten milliseconds.
    pub fn sorted(&self) -> SortedCells<'_> {
        let mut order = Vec::with_capacity(self.entries.len());
        let (mut hours, mut days) = (Grouped::default(), Grouped::default());
        // In the order in which they lie in memory; what is looked at in that of names waits for each.
        for (at, entry) in (0u32..).zip(&self.entries) {
            let (item, event_type) = self.names(entry);
            order.push((prefix(item), at));
            entry.slots.for_each(TimeRange::ALL, |slot, _| match slot.place() {
                SlotPlace::Hour(hour, _) => hours.push((hour, event_type), at),
                SlotPlace::Day(day) => days.push((day, event_type), at),
            });
        }
        // The first sixteen bytes decide nearly always, without a look at the names.
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| {
                let name = |at: u32| self.names(&self.entries[at as usize]);
                name(a.1).cmp(&name(b.1))
            })
        });
        let mut total_of = vec![0; order.len()];
        for (total, (_, at)) in (0u32..).zip(&order) {
            total_of[*at as usize] = total;
        }
        let written = hours.index.keys().copied().collect();
        let (hours, days) = (hours.by_total(&total_of), days.by_total(&total_of));
        let totals = order.into_iter().map(|(_, at)| at).collect();
        SortedCells { table: self, totals, hours, written, days }
    }
}

/// Entries by hour or day and type.
struct Grouped<'a, K> {
    index: BTreeMap<(K, &'a str), usize>,
    groups: Vec<((K, &'a str), Vec<u32>)>,
    /// The group of the slot before: nearly always that of the next one too.
    last: usize,
}

impl<K> Default for Grouped<'_, K> {
    fn default() -> Self {
        Self { index: BTreeMap::new(), groups: Vec::new(), last: 0 }
    }
}

impl<'a, K: Copy + Ord> Grouped<'a, K> {
    fn push(&mut self, key: (K, &'a str), entry: u32) {
        if self.groups.get(self.last).is_none_or(|(last, _)| *last != key) {
            self.last = *self.index.entry(key).or_insert(self.groups.len());
            if self.last == self.groups.len() {
                self.groups.push((key, Vec::new()));
            }
        }
        let entries = &mut self.groups[self.last].1;
        // The slots of an entry follow each other.
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }

    /// All in the order of groups and totals.
    fn by_total(mut self, total_of: &[u32]) -> Vec<(K, u32)> {
        let mut all = Vec::with_capacity(self.groups.iter().map(|(_, each)| each.len()).sum());
        for ((key, _), group) in &self.index {
            let mut entries = std::mem::take(&mut self.groups[*group].1);
            entries.iter_mut().for_each(|at| *at = total_of[*at as usize]);
            entries.sort_unstable();
            all.extend(entries.into_iter().map(|total| (*key, total)));
        }
        all
    }
}

impl<'a> SortedCells<'a> {
    /// Number of totals.
    pub fn totals_len(&self) -> usize {
        self.totals.len()
    }

    /// Number of hour rows.
    pub fn hours_len(&self) -> usize {
        self.hours.len()
    }

    /// Number of day rows.
    pub fn days_len(&self) -> usize {
        self.days.len()
    }

    /// The hours and types that have hour rows, in order.
    pub fn written(&self) -> &[(Hour, &'a str)] {
        &self.written
    }

    /// What is added to totals, by item and type.
    pub fn totals(&self, range: Range<usize>) -> Vec<TotalCell<'a>> {
        let cell = |entry: &'a Entry| {
            let (item, event_type) = self.table.names(entry);
            let (mut summary, mut newest_hour) = (Summary::EMPTY, None);
            entry.slots.for_each(TimeRange::ALL, |slot, of_slot| {
                summary.add(of_slot);
                if let SlotPlace::Hour(hour, _) = slot.place() {
                    newest_hour = newest_hour.max(Some(hour));
                }
            });
            TotalCell { item, event_type, summary, newest_hour }
        };
        self.totals[range].iter().map(|at| cell(&self.table.entries[*at as usize])).collect()
    }

    /// What is added to hour rows, by hour, type and item.
    pub fn hours(&self, range: Range<usize>) -> Vec<HourCells<'a>> {
        let row = |&(hour, total): &(Hour, u32)| {
            let (entry, item, event_type) = self.of_total(total);
            let mut cells = Vec::with_capacity(1);
            entry.slots.for_each(hour.range(), |slot, summary| {
                if let SlotPlace::Hour(_, slot) = slot.place() {
                    cells.push(Cell { slot, summary: *summary });
                }
            });
            HourCells { hour, event_type, item, cells, total: total as usize }
        };
        self.hours[range].iter().map(row).collect()
    }

    /// What is added to day rows, by day, type and item.
    pub fn days(&self, range: Range<usize>) -> Vec<DayCell<'a>> {
        let row = |&(day, total): &(Day, u32)| {
            let (entry, item, event_type) = self.of_total(total);
            let mut summary = Summary::EMPTY;
            entry.slots.for_each(day.minute().hour().range(), |slot, of_slot| {
                if slot.place() == SlotPlace::Day(day) {
                    summary.add(of_slot);
                }
            });
            DayCell { day, event_type, item, summary, total: total as usize }
        };
        self.days[range].iter().map(row).collect()
    }

    fn of_total(&self, total: u32) -> (&'a Entry, &'a str, &'a str) {
        let entry = &self.table.entries[self.totals[total as usize] as usize];
        let (item, event_type) = self.table.names(entry);
        (entry, item, event_type)
    }
}

/// The first sixteen bytes, so that comparing two numbers orders two texts.
fn prefix(text: &str) -> u128 {
    let mut bytes = [0; 16];
    let len = text.len().min(16);
    bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
    u128::from_be_bytes(bytes)
}
