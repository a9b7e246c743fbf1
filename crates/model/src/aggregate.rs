//! The memory table: what a partition has counted since its last flush, by item and type.
//!
//! It holds the events of `[from, next)` and nothing else. A row of the store plus this is the
//! whole count; when the table is flushed it becomes part of the rows and an empty one takes over.

mod sorted;

use std::collections::BTreeMap;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

use crate::bucket::TimeRange;
use crate::partition::Offset;
use crate::slot::Slot;
use crate::summary::Summary;
use crate::value::Value;

pub use sorted::{DayCell, HourCells, SortedCells, TotalCell};

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
        hash_names(self.seed, item.as_bytes(), event_type.as_bytes())
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
}

/// A hash of an item and type, for tables in memory. Names that differ may share one.
pub fn hash_names(seed: u64, item: &[u8], event_type: &[u8]) -> u64 {
    let mut hasher = FoldHasher::with_seed(seed, SharedSeed::global_fixed());
    hasher.write(item);
    hasher.write(event_type);
    hasher.finish()
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
mod tests;
