//! Which items are hot: the heaviest of a stream in bounded memory, and when to spread one over
//! partitions and when to stop.
//!
//! The heaviest are found by Space-Saving: so many counters, and an item without one takes over the
//! least, with its count as the error. So a counter is never too small, and too large by at most its
//! error; whatever has more than `events / counters` has one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::bucket::TimestampMs;
use crate::limits::{PARTITIONS_MAX, SPREAD_ITEMS_MAX};
use crate::route::{RoutingChange, RoutingTable, Rule, Strategy, Subject};

/// Rounds in a row that an item is hot before it is spread.
const HOT_ROUNDS: u32 = 3;
/// Rounds in a row that a spread item is cool before it is spread no more, the first time: an item
/// that becomes hot again and again stays spread twice as long each time, up to two days, as every
/// change is kept for ever.
const COOL_ROUNDS: u32 = 60;
const DOUBLED_MAX: usize = 8;

/// The heaviest items of a stream.
#[derive(Debug)]
pub struct HeavyHitters {
    places: HashMap<Box<str>, u32, FixedState>,
    counters: Vec<Counter>,
    /// The counters by count, so that the least is at hand.
    by_count: BTreeSet<(u64, u32)>,
    capacity: usize,
    total: u64,
}

#[derive(Debug)]
struct Counter {
    item: Box<str>,
    count: u64,
    error: u64,
}

/// An item of a sketch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeavyItem {
    /// Which.
    pub item: String,
    /// It had at least so many events.
    pub count_min: u64,
}

impl HeavyHitters {
    /// With so many counters; the seed is one that no client knows.
    ///
    /// # Panics
    /// For no counter at all.
    pub fn new(capacity: usize, seed: u64) -> Self {
        assert!(capacity > 0, "an item is counted somewhere");
        let places = HashMap::with_capacity_and_hasher(capacity, FixedState::with_seed(seed));
        let (counters, by_count) = (Vec::with_capacity(capacity), BTreeSet::new());
        Self { places, counters, by_count, capacity, total: 0 }
    }

    /// Counts so many events of an item.
    pub fn add(&mut self, item: &str, events: u64) {
        self.total += events;
        if let Some(&place) = self.places.get(item) {
            let counter = &mut self.counters[place as usize];
            self.by_count.remove(&(counter.count, place));
            counter.count += events;
            self.by_count.insert((counter.count, place));
            return;
        }
        let (place, counter) = match self.by_count.first().copied() {
            Some(least) if self.counters.len() == self.capacity => {
                self.by_count.remove(&least);
                let (error, place) = least;
                let count = error + events;
                (place, Counter { item: item.into(), count, error })
            }
            _ => {
                (self.counters.len() as u32, Counter { item: item.into(), count: events, error: 0 })
            }
        };
        self.by_count.insert((counter.count, place));
        self.places.insert(counter.item.clone(), place);
        match self.counters.get_mut(place as usize) {
            Some(taken) => {
                self.places.remove(&std::mem::replace(taken, counter).item);
            }
            None => self.counters.push(counter),
        }
    }

    /// Number of events counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The items, heaviest first, and begins anew.
    pub fn take(&mut self) -> (u64, Vec<HeavyItem>) {
        self.places.clear();
        self.by_count.clear();
        let counters = self.counters.drain(..);
        let mut items: Vec<_> = counters
            .map(|counter| HeavyItem {
                item: counter.item.into(),
                count_min: counter.count - counter.error,
            })
            .collect();
        items.sort_unstable_by(|a, b| {
            (Reverse(a.count_min), &a.item).cmp(&(Reverse(b.count_min), &b.item))
        });
        (std::mem::take(&mut self.total), items)
    }
}

/// What came in for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How long, in milliseconds.
    pub millis: u64,
    /// Number of events of all items.
    pub events: u64,
    /// Those of the heaviest items, heaviest first: at least so many.
    pub items: Vec<HeavyItem>,
}

/// Decides which items are spread because they are hot, and which no more.
#[derive(Debug)]
pub struct HotItems {
    /// Items with fewer events a second are never hot.
    per_second_min: u64,
    /// Whether every event is in the rounds; else others judge the rest.
    sees_all: bool,
    hot_rounds: BTreeMap<String, u32>,
    cool_rounds: BTreeMap<String, u32>,
}

impl HotItems {
    /// Items with fewer events a second are left alone.
    pub fn new(per_second_min: u64) -> Self {
        Self {
            per_second_min,
            sees_all: true,
            hot_rounds: BTreeMap::new(),
            cool_rounds: BTreeMap::new(),
        }
    }

    /// As one of several who see a part of the events each and decide about the same table. How many
    /// events an item has is not known then, only its share: by that alone it is cool, and whoever
    /// sees too few events to tell leaves that to the others.
    pub fn of_a_part(per_second_min: u64) -> Self {
        Self { sees_all: false, ..Self::new(per_second_min) }
    }

    /// What to change in a table after one more round; rules that people made stay as they are.
    ///
    /// An item is hot where it alone has as much as a partition should have, and cool below half of
    /// that: in between nothing changes. One is spread so that each partition gets of it half a
    /// partition's share.
    pub fn judge(&mut self, round: &Round, table: &RoutingTable) -> Vec<RoutingChange> {
        let free = usize::from(table.newest().partitions)
            - table.dedicated().iter().filter(|p| **p < table.newest().partitions).count();
        let scale = Scale { round, per_second_min: self.per_second_min, free: free as u64 };
        let mut spread: BTreeMap<String, u16> = BTreeMap::new();
        for (subject, rule, _) in table.rules() {
            if let (Subject::Item(item), true, Strategy::Spread { over }) =
                (subject, rule.is_automatic, &rule.strategy)
            {
                spread.insert(item, *over);
            }
        }
        let mut changes = self.cool_down(&scale, &spread, table);
        let room = SPREAD_ITEMS_MAX.saturating_sub(spread.len() - changes.len());
        changes.extend(self.heat_up(&scale, &spread, table, room));
        changes
    }

    fn cool_down(
        &mut self,
        scale: &Scale<'_>,
        spread: &BTreeMap<String, u16>,
        table: &RoutingTable,
    ) -> Vec<RoutingChange> {
        let mut cooled = Vec::new();
        self.cool_rounds.retain(|item, _| spread.contains_key(item));
        if !self.sees_all && !scale.is_much(scale.round.events) {
            return cooled;
        }
        for item in spread.keys() {
            let count = scale.round.items.iter().find(|heavy| heavy.item == *item);
            let count = count.map_or(0, |heavy| heavy.count_min).saturating_mul(2);
            let is_warm = if self.sees_all { scale.is_hot(count) } else { scale.is_share(count) };
            let is_cool = !is_warm;
            let rounds = self.cool_rounds.entry(item.clone()).or_default();
            *rounds = if is_cool { *rounds + 1 } else { 0 };
            let doubled = (table.changes_of(item) / 2).min(DOUBLED_MAX);
            if *rounds >= COOL_ROUNDS << doubled {
                *rounds = 0;
                cooled.push(RoutingChange { subject: Subject::Item(item.clone()), rule: None });
            }
        }
        cooled
    }

    fn heat_up(
        &mut self,
        scale: &Scale<'_>,
        spread: &BTreeMap<String, u16>,
        table: &RoutingTable,
        mut room: usize,
    ) -> Vec<RoutingChange> {
        let mut heated = Vec::new();
        let mut hot_rounds = BTreeMap::new();
        for HeavyItem { item, count_min } in &scale.round.items {
            let wanted = scale.over(*count_min);
            let has_less = match (spread.get(item), table.rule_at(item, TimestampMs(i64::MAX))) {
                (Some(over), _) => wanted >= over.saturating_mul(2),
                // What people decided stays.
                (None, Some(_)) => false,
                (None, None) => true,
            };
            if !has_less || !scale.is_hot(*count_min) {
                continue;
            }
            let rounds = self.hot_rounds.get(item).copied().unwrap_or(0) + 1;
            let is_new = !spread.contains_key(item);
            if rounds < HOT_ROUNDS || (is_new && room == 0) {
                hot_rounds.insert(item.clone(), rounds.min(HOT_ROUNDS));
                continue;
            }
            room -= usize::from(is_new);
            let strategy = Strategy::Spread { over: wanted };
            let rule = Some(Rule { strategy, is_automatic: true });
            heated.push(RoutingChange { subject: Subject::Item(item.clone()), rule });
        }
        self.hot_rounds = hot_rounds;
        heated
    }
}

/// What is much in a round.
struct Scale<'r> {
    round: &'r Round,
    per_second_min: u64,
    /// Partitions to spread over.
    free: u64,
}

impl Scale<'_> {
    /// Whether an item has as many events as a partition should have, and enough to care.
    fn is_hot(&self, events: u64) -> bool {
        self.is_share(events) && self.is_much(events)
    }

    /// Whether it has a partition's share of all events.
    fn is_share(&self, events: u64) -> bool {
        self.free > 1 && events.saturating_mul(self.free) >= self.round.events
    }

    /// Whether so many are enough to care.
    fn is_much(&self, events: u64) -> bool {
        events.saturating_mul(1_000) >= self.per_second_min.saturating_mul(self.round.millis)
    }

    /// How many partitions an item should be spread over.
    fn over(&self, events: u64) -> u16 {
        let halves = (events * self.free * 2).div_ceil(self.round.events.max(1));
        let most = self.free.min(u64::from(PARTITIONS_MAX));
        halves.next_power_of_two().min(most).max(2) as u16
    }
}

#[cfg(test)]
mod tests;
