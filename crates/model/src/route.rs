//! Which partition an event goes to: a pure function of (item, id, event time) and a versioned
//! table, so that a repeat meets its original.
//!
//! A version says from which event time on it holds, and that time lies in the future of everybody
//! who may still route by the version before it. So the answer for an event never changes, whatever
//! is published later; an item's rows lie in every partition that any version ever gave it, and a
//! question adds them.
//!
//! The rule of an item goes before that of the longest prefix of it, and that before the default:
//! `murmur3(item) mod partitions`, or another of the free partitions where that one is dedicated to
//! others. A rule is in force from its version's time on, until a later version gives another or
//! none.

mod bytes;
mod change;

use std::collections::BTreeMap;

use crate::bucket::{MINUTE_MS, TimestampMs};
use crate::partition::PartitionId;

pub use change::{RoutingChange, RoutingError, RoutingVersion, Rule, Strategy, Subject};

/// What happened to the rule of an item or prefix, oldest first.
type Timeline = Vec<(TimestampMs, Option<Rule>)>;

/// All versions of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    /// Oldest first; the first holds since ever.
    versions: Vec<RoutingVersion>,
    /// How items without a rule are placed, from when on; oldest first.
    spans: Vec<Span>,
    items: BTreeMap<Box<str>, Timeline>,
    prefixes: BTreeMap<Box<str>, Timeline>,
    /// Rules in force by the newest version.
    active: usize,
    /// Those of prefixes.
    active_prefixes: usize,
    /// Changes of rules in all versions.
    changes: usize,
    log_partitions: u16,
}

/// The default placement from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    effective: TimestampMs,
    partitions: u16,
    /// Those of them that are not dedicated, rising; at least one.
    free: Vec<u16>,
}

impl RoutingTable {
    /// The first version, fixed when a data folder is made: every item by its name alone.
    ///
    /// # Panics
    /// For no partitions at all.
    pub fn first(partitions: u16) -> Self {
        assert!(partitions > 0, "an item goes somewhere");
        let effective = TimestampMs(i64::MIN);
        let version =
            RoutingVersion { published: effective, effective, partitions, changes: Vec::new() };
        Self {
            versions: vec![version],
            spans: vec![Span { effective, partitions, free: (0..partitions).collect() }],
            items: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            active: 0,
            active_prefixes: 0,
            changes: 0,
            log_partitions: partitions,
        }
    }

    /// All versions, oldest first. The first has number 1.
    pub fn versions(&self) -> &[RoutingVersion] {
        &self.versions
    }

    /// Number of the newest version.
    pub fn version(&self) -> u32 {
        self.versions.len() as u32
    }

    /// The newest version.
    pub fn newest(&self) -> &RoutingVersion {
        self.versions.last().expect("there is a first version")
    }

    /// How many partitions a log must have for this table: those that items without a rule are
    /// spread over, and those that rules name.
    pub fn log_partitions(&self) -> u16 {
        self.log_partitions
    }

    /// The partition of an event whose repeats bring this time again.
    pub fn route(&self, item: &str, id: &str, time: TimestampMs) -> PartitionId {
        self.route_by(item, || murmur3_x86_32(id.as_bytes()), time)
    }

    /// The same, for whom it costs to write down the id: few items are placed by it. The hash is that
    /// of the text.
    pub fn route_by(
        &self,
        item: &str,
        hash_of_id: impl FnOnce() -> u32,
        time: TimestampMs,
    ) -> PartitionId {
        let hash = murmur3_x86_32(item.as_bytes());
        let span = self.span_at(time);
        let strategy = self.rule_at(item, time).map_or(&Strategy::Item, |rule| &rule.strategy);
        PartitionId(match strategy {
            Strategy::Item => span.of_item(hash),
            Strategy::ItemAndMinute => span.of_minute(hash, time),
            Strategy::Spread { over } => span.of_id(hash, hash_of_id(), *over),
            Strategy::Pinned { partitions } | Strategy::Dedicated { partitions } => {
                partitions[hash as usize % partitions.len()]
            }
        })
    }

    /// The partition of an event whose repeats may bring another time: that of the first version.
    pub fn route_first(&self, item: &str) -> PartitionId {
        let first = self.spans.first().expect("there is a first version");
        PartitionId(first.of_item(murmur3_x86_32(item.as_bytes())))
    }

    /// The partitions that may have counted events of an item, by any version, in order.
    pub fn partitions_of(&self, item: &str) -> Vec<PartitionId> {
        if self.versions.len() == 1 {
            return vec![self.route_first(item)];
        }
        // An item's placement changes only with the default and with the rules it is under.
        let of_prefixes = self.prefixes.iter().filter(|(prefix, _)| item.starts_with(&***prefix));
        let timelines = self.items.get(item).into_iter().chain(of_prefixes.map(|(_, of)| of));
        let changed = timelines.flatten().map(|(effective, _)| *effective);
        let moments = self.spans.iter().map(|span| span.effective).chain(changed);
        let hash = murmur3_x86_32(item.as_bytes());
        let mut found: Vec<PartitionId> = Vec::new();
        for moment in moments {
            let span = self.span_at(moment);
            let strategy =
                self.rule_at(item, moment).map_or(&Strategy::Item, |rule| &rule.strategy);
            match strategy {
                Strategy::Item => found.push(PartitionId(span.of_item(hash))),
                Strategy::ItemAndMinute => found.extend(span.free.iter().copied().map(PartitionId)),
                Strategy::Spread { over } => {
                    found.extend(span.spread_over(hash, *over).map(PartitionId));
                }
                Strategy::Pinned { partitions } | Strategy::Dedicated { partitions } => {
                    found.push(PartitionId(partitions[hash as usize % partitions.len()]));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The rule that an item is under at an event time, if any.
    pub fn rule_at(&self, item: &str, time: TimestampMs) -> Option<&Rule> {
        if self.versions.len() == 1 {
            return None;
        }
        let own = self.items.get(item).and_then(|timeline| in_force(timeline, time));
        own.or_else(|| {
            // Of two prefixes of one text the longer sorts behind the shorter.
            let matching = self.prefixes.iter().filter(|(prefix, _)| item.starts_with(&***prefix));
            matching.filter_map(|(_, timeline)| in_force(timeline, time)).next_back()
        })
    }

    /// The rules in force by the newest version, those of items first, each in the order of names,
    /// with the time since which each is (or will be).
    pub fn rules(&self) -> Vec<(Subject, &Rule, TimestampMs)> {
        fn newest(timeline: &Timeline) -> Option<(&Rule, TimestampMs)> {
            timeline.last().and_then(|(since, rule)| Some((rule.as_ref()?, *since)))
        }
        let items = self.items.iter().filter_map(|(item, timeline)| {
            let (rule, since) = newest(timeline)?;
            Some((Subject::Item(item.to_string()), rule, since))
        });
        let prefixes = self.prefixes.iter().filter_map(|(prefix, timeline)| {
            let (rule, since) = newest(timeline)?;
            Some((Subject::Prefix(prefix.to_string()), rule, since))
        });
        items.chain(prefixes).collect()
    }

    /// How often the rule of an item was given, replaced or taken away.
    pub fn changes_of(&self, item: &str) -> usize {
        self.items.get(item).map_or(0, Vec::len)
    }

    /// Number of items that are spread because they are hot, by the newest version.
    pub fn automatic(&self) -> usize {
        self.rules().iter().filter(|(_, rule, _)| rule.is_automatic).count()
    }

    /// The partitions that items without a rule do not go to by the newest version, rising.
    pub fn dedicated(&self) -> Vec<u16> {
        let mut partitions: Vec<u16> = Vec::new();
        for (_, rule, _) in self.rules() {
            if let Strategy::Dedicated { partitions: own } = &rule.strategy {
                partitions.extend(own);
            }
        }
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    fn span_at(&self, time: TimestampMs) -> &Span {
        let begun = self.spans.partition_point(|span| span.effective <= time);
        // The first holds since ever.
        &self.spans[begun.saturating_sub(1)]
    }
}

/// What a timeline says at an event time.
fn in_force(timeline: &Timeline, time: TimestampMs) -> Option<&Rule> {
    let begun = timeline.partition_point(|(effective, _)| *effective <= time);
    timeline.get(begun.checked_sub(1)?)?.1.as_ref()
}

impl Span {
    fn of_item(&self, hash: u32) -> u16 {
        let partition = (hash % u32::from(self.partitions)) as u16;
        if self.free.len() == usize::from(self.partitions) {
            return partition;
        }
        // Only what would go to a dedicated partition goes elsewhere: the others stay.
        match self.free.binary_search(&partition) {
            Ok(_) => partition,
            Err(_) => self.nth_free(mix(hash)),
        }
    }

    fn of_minute(&self, hash: u32, time: TimestampMs) -> u16 {
        let minute = time.0.div_euclid(MINUTE_MS) as u32;
        self.nth_free(mix(hash ^ mix(minute)))
    }

    fn of_id(&self, hash: u32, hash_of_id: u32, over: u16) -> u16 {
        let over = usize::from(over).min(self.free.len());
        let place = hash_of_id as usize % over.max(1);
        self.free[(self.first_free(hash) + place) % self.free.len()]
    }

    /// The partitions that an item is spread over: as many as there are, beginning with its own.
    fn spread_over(&self, hash: u32, over: u16) -> impl Iterator<Item = u16> {
        let first = self.first_free(hash);
        let over = usize::from(over).min(self.free.len()).max(1);
        (first..first + over).map(|at| self.free[at % self.free.len()])
    }

    /// The place of an item's own partition among the free ones.
    fn first_free(&self, hash: u32) -> usize {
        self.free.binary_search(&self.of_item(hash)).unwrap_or(0)
    }

    fn nth_free(&self, hash: u32) -> u16 {
        self.free[hash as usize % self.free.len()]
    }
}

/// MurmurHash3 for 32-bit x86, seed 0. Written out because stored data depends on every bit of it.
pub fn murmur3_x86_32(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let scramble = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = 0u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let k = u32::from_le_bytes(chunk.try_into().expect("chunks of 4"));
        hash = (hash ^ scramble(k)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut tail = 0u32;
    for (at, &byte) in chunks.remainder().iter().enumerate() {
        tail |= u32::from(byte) << (8 * at);
    }
    hash ^= scramble(tail);
    hash ^= bytes.len() as u32;
    mix(hash)
}

/// The last step of MurmurHash3: every bit of the number changes half of those of the result.
fn mix(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests;
