//! The memory table: what a partition has counted since its last flush, by item and type.
//!
//! It holds the events of `[from, next)` and nothing else. A row of the store plus this is the
//! whole count; when the table is flushed it becomes part of the rows and an empty one takes over.

use std::collections::BTreeMap;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use std::hash::Hasher;
use std::ops::Range;

use crate::bucket::{Day, Hour, TimeRange};
use crate::counter::Cell;
use crate::partition::Offset;
use crate::slot::{Slot, SlotPlace};
use crate::summary::Summary;
use crate::value::Value;

/// More slots of one item than this are kept in a tree: inserting in the middle of a longer list
/// would cost more than it saves.
const LIST_MAX: usize = 64;

/// No place in a table: it is flushed long before it has so many entries.
const NOWHERE: u32 = u32::MAX;

/// An event that counts.
#[derive(Clone, Copy, Debug)]
pub struct CountedEvent<'a> {
    /// The item.
    pub item: &'a str,
    /// The event type.
    pub event_type: &'a str,
    /// Where in time it counts.
    pub slot: Slot,
    /// What it is worth.
    pub value: Option<Value>,
}

/// Where events count in a table, in their order.
pub struct Places(Vec<Place>);

struct Place {
    hash: u64,
    /// Which of the entries.
    at: u32,
}

/// Counts of one partition over a stretch of its log.
pub struct MemoryTable {
    /// The first offset counted here.
    from: Offset,
    /// The first offset not counted here.
    next: Offset,
    seed: u64,
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// The items and types of the entries, one behind the other.
    names: String,
    cells: usize,
}

/// One cache line, as it is looked at in the order of hashes.
#[repr(align(64))]
struct Entry {
    hash: u64,
    name_start: u32,
    item_len: u16,
    type_len: u16,
    slots: Slots,
}

/// The slots of an item and type in order. Nearly always one: a table lives for seconds.
enum Slots {
    One(Small),
    List(Vec<(Slot, Summary)>),
    Tree(BTreeMap<Slot, Summary>),
}

/// A slot whose numbers are small.
#[derive(Clone, Copy)]
struct Small {
    slot: Slot,
    count: u32,
    value_count: u32,
    sum: i64,
    min: i64,
    max: i64,
}

const _: () = assert!(size_of::<Entry>() == 64);

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
    /// An empty table that counts from an offset on.
    pub fn new(from: Offset, seed: u64) -> Self {
        Self {
            from,
            next: from,
            seed,
            index: HashTable::new(),
            entries: Vec::new(),
            names: String::new(),
            cells: 0,
        }
    }

    /// An empty table that counts from an offset on, with room for as much as this one holds:
    /// growing would copy while questions wait.
    pub fn successor(&self, from: Offset) -> Self {
        Self {
            index: HashTable::with_capacity(self.entries.len()),
            entries: Vec::with_capacity(self.entries.len()),
            names: String::with_capacity(self.names.len()),
            ..Self::new(from, self.seed)
        }
    }

    /// The first offset counted here.
    pub fn from(&self) -> Offset {
        self.from
    }

    /// The first offset not counted here.
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Number of (item, type, slot) cells.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Whether nothing was counted; the offsets may have moved all the same.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says that everything below `next` has been counted or judged.
    pub fn advance(&mut self, next: Offset) {
        assert!(next >= self.next, "a table counts forwards");
        self.next = next;
    }

    /// Where events count, of what is in the table by now: most of the work of [`Self::count_all`], without a
    /// change. In loops that each do one step for all of them, so that the processor waits for many cache
    /// lines at once.
    pub fn find_all(&self, events: &[CountedEvent<'_>]) -> Places {
        let hash = |event: &CountedEvent<'_>| self.hash(event.item, event.event_type);
        let mut places: Vec<_> =
            events.iter().map(|event| Place { hash: hash(event), at: NOWHERE }).collect();
        for Place { hash, at } in &mut places {
            let same_hash = |&at: &u32| self.entries[at as usize].hash == *hash;
            *at = self.index.find(*hash, same_hash).copied().unwrap_or(NOWHERE);
        }
        for (event, Place { at, .. }) in events.iter().zip(&mut places) {
            let is_it = |entry: &Entry| self.names(entry) == (event.item, event.event_type);
            // Two names may share a hash.
            if !self.entries.get(*at as usize).is_some_and(is_it) {
                *at = NOWHERE;
            }
        }
        Places(places)
    }

    /// Counts events at the places that were found for them in this table, as it is now.
    pub fn count_all(&mut self, events: &[CountedEvent<'_>], places: &Places) {
        for (event, &Place { hash, at }) in events.iter().zip(&places.0) {
            let summary = Summary::of(event.value);
            let at = match at {
                // One of these events may have been the first of its item and type.
                NOWHERE => self.find(hash, event.item, event.event_type),
                at => Some(at as usize),
            };
            match at {
                Some(at) => self.cells += self.entries[at].slots.add(event.slot, &summary),
                None => self.insert(hash, event, summary),
            }
        }
    }

    fn insert(&mut self, hash: u64, event: &CountedEvent<'_>, summary: Summary) {
        let CountedEvent { item, event_type, slot, .. } = *event;
        let at = u32::try_from(self.entries.len()).expect("a table is flushed long before");
        let name_start = u32::try_from(self.names.len()).expect("a table is flushed long before");
        self.names.push_str(item);
        self.names.push_str(event_type);
        self.entries.push(Entry {
            hash,
            name_start,
            item_len: item.len() as u16,
            type_len: event_type.len() as u16,
            slots: Slots::new(slot, summary),
        });
        self.cells += 1;
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |&other| entries[other as usize].hash);
    }

    fn find(&self, hash: u64, item: &str, event_type: &str) -> Option<usize> {
        let is_it = |&at: &u32| {
            let entry = &self.entries[at as usize];
            entry.hash == hash && self.names(entry) == (item, event_type)
        };
        self.index.find(hash, is_it).map(|&at| at as usize)
    }

    fn hash(&self, item: &str, event_type: &str) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, SharedSeed::global_fixed());
        hasher.write(item.as_bytes());
        hasher.write(event_type.as_bytes());
        hasher.finish()
    }

    fn names(&self, entry: &Entry) -> (&str, &str) {
        let start = entry.name_start as usize;
        let type_start = start + usize::from(entry.item_len);
        let end = type_start + usize::from(entry.type_len);
        (&self.names[start..type_start], &self.names[type_start..end])
    }

    /// What was counted here of an item and type in slots that begin in a range.
    pub fn summary(&self, item: &str, event_type: &str, range: TimeRange) -> Summary {
        let mut total = Summary::EMPTY;
        self.for_each_slot(item, event_type, range, |_, summary| total.add(summary));
        total
    }

    /// Calls `each` with every slot of an item and type that begins in the range, in order.
    pub fn for_each_slot(
        &self,
        item: &str,
        event_type: &str,
        range: TimeRange,
        each: impl FnMut(Slot, &Summary),
    ) {
        if let Some(at) = self.find(self.hash(item, event_type), item, event_type) {
            self.entries[at].slots.for_each(range, each);
        }
    }

    /// Calls `each` with every item of a type and each of its slots that begin in the range, in no
    /// order.
    pub fn for_each_item_slot(
        &self,
        event_type: &str,
        range: TimeRange,
        mut each: impl FnMut(&str, Slot, &Summary),
    ) {
        for entry in &self.entries {
            let (item, its_type) = self.names(entry);
            if its_type == event_type {
                entry.slots.for_each(range, |slot, summary| each(item, slot, summary));
            }
        }
    }

    /// The items of a type with the most events, whatever their slots: so many, and no others that have as many as
    /// the least of them.
    pub fn largest(&self, event_type: &str, limit: usize) -> Vec<&str> {
        let mut counts: Vec<(u64, u32)> = Vec::with_capacity(self.entries.len());
        for (at, entry) in (0u32..).zip(&self.entries) {
            if self.names(entry).1 == event_type {
                counts.push((entry.slots.count(), at));
            }
        }
        if counts.len() > limit && limit > 0 {
            counts.select_nth_unstable_by(limit - 1, |a, b| b.cmp(a));
        }
        counts.truncate(limit);
        counts.iter().map(|(_, at)| self.names(&self.entries[*at as usize]).0).collect()
    }

    /// The most events that an item of a type has, whatever their slots, but for items that are excepted.
    pub fn most(&self, event_type: &str, is_excepted: impl Fn(&str) -> bool) -> u64 {
        let mut most = 0;
        for entry in &self.entries {
            let count = entry.slots.count();
            if count > most {
                let (item, its_type) = self.names(entry);
                if its_type == event_type && !is_excepted(item) {
                    most = count;
                }
            }
        }
        most
    }

    /// Calls `each` with every type and slot of the items that `pick` picks, in no order, and with what
    /// it picked them as.
    pub fn for_each_of<K: Copy>(
        &self,
        pick: impl Fn(&str) -> Option<K>,
        mut each: impl FnMut(K, &str, Slot, &Summary),
    ) {
        for entry in &self.entries {
            let (item, event_type) = self.names(entry);
            if let Some(picked) = pick(item) {
                entry.slots.for_each(TimeRange::ALL, |slot, summary| {
                    each(picked, event_type, slot, summary);
                });
            }
        }
    }

    /// Calls `each` with item, type, slot and numbers of everything whose slot begins in the range,
    /// in no order.
    pub fn for_each_cell(
        &self,
        range: TimeRange,
        mut each: impl FnMut(&str, &str, Slot, &Summary),
    ) {
        for entry in &self.entries {
            let (item, event_type) = self.names(entry);
            entry.slots.for_each(range, |slot, summary| each(item, event_type, slot, summary));
        }
    }

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

impl Small {
    /// None where it has no room for the numbers.
    fn new(slot: Slot, summary: &Summary) -> Option<Self> {
        let Summary { count, value_count, sum, min, max } = *summary;
        let (count, value_count) = (count.try_into().ok()?, value_count.try_into().ok()?);
        Some(Self { slot, count, value_count, sum: sum.try_into().ok()?, min, max })
    }

    fn summary(&self) -> Summary {
        let Self { count, value_count, sum, min, max, .. } = *self;
        Summary { count: count.into(), value_count: value_count.into(), sum: sum.into(), min, max }
    }
}

impl Slots {
    fn new(slot: Slot, summary: Summary) -> Self {
        match Small::new(slot, &summary) {
            Some(small) => Self::One(small),
            None => Self::List(vec![(slot, summary)]),
        }
    }

    /// Adds to a slot; how many cells that opened.
    fn add(&mut self, slot: Slot, summary: &Summary) -> usize {
        match self {
            Self::One(own) if own.slot == slot => {
                let mut total = own.summary();
                total.add(summary);
                *self = Self::new(slot, total);
                0
            }
            Self::One(first) => {
                let mut list = vec![(first.slot, first.summary()), (slot, *summary)];
                list.sort_unstable_by_key(|(slot, _)| *slot);
                *self = Self::List(list);
                1
            }
            Self::List(list) => {
                // Events come nearly in the order of time: look at the end first.
                if let Some((_, total)) = list.last_mut().filter(|(own, _)| *own == slot) {
                    total.add(summary);
                    return 0;
                }
                match list.binary_search_by_key(&slot, |(own, _)| *own) {
                    Ok(at) => {
                        list[at].1.add(summary);
                        return 0;
                    }
                    Err(at) => list.insert(at, (slot, *summary)),
                }
                if list.len() > LIST_MAX {
                    *self = Self::Tree(list.drain(..).collect());
                }
                1
            }
            Self::Tree(tree) => {
                let before = tree.len();
                tree.entry(slot).or_default().add(summary);
                tree.len() - before
            }
        }
    }

    /// Events of all slots.
    fn count(&self) -> u64 {
        match self {
            Self::One(only) => only.count.into(),
            Self::List(list) => list.iter().map(|(_, summary)| summary.count).sum(),
            Self::Tree(tree) => tree.values().map(|summary| summary.count).sum(),
        }
    }

    fn for_each(&self, range: TimeRange, mut each: impl FnMut(Slot, &Summary)) {
        // A slot that begins in the range sorts at or behind its first minute.
        let first = Slot::minute(range.start);
        let mut begins_within = |slot: Slot, summary: &Summary| {
            if range.contains(slot.start()) {
                each(slot, summary);
            }
        };
        let list = match self {
            Self::One(only) => return begins_within(only.slot, &only.summary()),
            Self::List(list) => &list[list.partition_point(|(slot, _)| *slot < first)..],
            Self::Tree(tree) => {
                // A whole hour or day sorts behind the minutes it begins with.
                let last = Slot::last_of_hour(range.end);
                tree.range(first..=last).for_each(|(slot, sum)| begins_within(*slot, sum));
                return;
            }
        };
        list.iter().for_each(|(slot, summary)| begins_within(*slot, summary));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bucket::Minute;
    use crate::horizon::Horizons;

    /// Minutes up to 4999: the first day counts as a whole, and the hours up to the 40th.
    fn horizons() -> Horizons {
        Horizons::new(Hour(40), Day(1)).unwrap()
    }

    type Events = Vec<(String, String, u32, Option<i64>)>;

    fn events() -> impl Strategy<Value = Events> {
        let event = (
            "[ab]{1,10}",
            "[xy]",
            prop_oneof![Just(100u32), 0u32..50, 0u32..5_000],
            // The sum of two of the largest needs more than 64 bits.
            proptest::option::of(prop_oneof![-1_000i64..1_000, Just(9_000_000_000_000_000_000)]),
        );
        proptest::collection::vec(event, 0..400)
    }

    fn table<'a>(events: &'a Events) -> MemoryTable {
        let mut table = MemoryTable::new(Offset(5), 7);
        let event = |(item, event_type, minute, value): &'a (String, String, u32, Option<i64>)| {
            let value = value.map(|micros| Value::from_micros(micros).unwrap());
            CountedEvent { item, event_type, slot: horizons().slot(Minute(*minute)), value }
        };
        let events: Vec<_> = events.iter().map(event).collect();
        // As many as are counted together: items are new in the same chunk and in an earlier one.
        for events in events.chunks(50) {
            let places = table.find_all(events);
            table.count_all(events, &places);
        }
        table
    }

    fn expected(events: &Events, mut wanted: impl FnMut(&str, &str, u32) -> bool) -> Summary {
        let mut total = Summary::EMPTY;
        for (item, event_type, minute, value) in events {
            if wanted(item, event_type, *minute) {
                total.add(&Summary::of(value.map(|micros| Value::from_micros(micros).unwrap())));
            }
        }
        total
    }

    proptest! {
        #[test]
        fn a_range_of_an_item_is_the_sum_of_its_events(events in events(), start in 0u32..5_000, len in 0u32..5_000) {
            let table = table(&events);
            let range = horizons().round(TimeRange { start: Minute(start), end: Minute(start + len) });
            for item in ["a", "b", "ab"] {
                let sum = expected(&events, |i, t, m| i == item && t == "x" && range.contains(Minute(m)));
                prop_assert_eq!(table.summary(item, "x", range), sum);
            }
            let mut by_item = Summary::EMPTY;
            table.for_each_item_slot("y", range, |_, _, summary| by_item.add(summary));
            prop_assert_eq!(by_item, expected(&events, |_, t, m| t == "y" && range.contains(Minute(m))));
        }

        #[test]
        fn sorted_holds_every_event_once_in_key_order(events in events()) {
            let table = table(&events);
            let sorted = table.sorted();
            let totals = sorted.totals(0..sorted.totals_len());
            let hours = sorted.hours(0..sorted.hours_len());
            let days = sorted.days(0..sorted.days_len());
            let keys: Vec<_> = totals.iter().map(|t| (t.item, t.event_type)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            for total in &totals {
                let sum = expected(&events, |i, t, _| i == total.item && t == total.event_type);
                prop_assert_eq!(total.summary, sum);
                let of_item = hours.iter().filter(|row| row.item == total.item);
                let newest = of_item.filter(|row| row.event_type == total.event_type).map(|row| row.hour).max();
                prop_assert_eq!(total.newest_hour, newest);
            }
            let of_total = |total: usize| (totals[total].item, totals[total].event_type);
            let mut slots = 0;
            let keys: Vec<_> = hours.iter().map(|row| (row.hour, row.event_type, row.item)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            let mut written: Vec<_> = hours.iter().map(|row| (row.hour, row.event_type)).collect();
            written.dedup();
            prop_assert_eq!(sorted.written(), &written[..]);
            prop_assert_eq!(sorted.hours(1.min(hours.len())..hours.len()), &hours[1.min(hours.len())..]);
            for row in &hours {
                prop_assert_eq!((row.item, row.event_type), of_total(row.total));
                prop_assert!(row.cells.is_sorted_by(|a, b| a.slot < b.slot));
                slots += row.cells.len();
                for cell in &row.cells {
                    let place = SlotPlace::Hour(row.hour, cell.slot);
                    let sum = expected(&events, |i, t, m| {
                        i == row.item && t == row.event_type && horizons().slot(Minute(m)).place() == place
                    });
                    prop_assert_eq!(&cell.summary, &sum);
                }
            }
            let keys: Vec<_> = days.iter().map(|row| (row.day, row.event_type, row.item)).collect();
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            for row in &days {
                prop_assert_eq!((row.item, row.event_type), of_total(row.total));
                slots += 1;
                let sum = expected(&events, |i, t, m| {
                    i == row.item && t == row.event_type
                        && horizons().slot(Minute(m)).place() == SlotPlace::Day(row.day)
                });
                prop_assert_eq!(row.summary, sum);
            }
            prop_assert_eq!(slots, table.cells());
        }
    }
}
