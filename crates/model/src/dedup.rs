//! The dedup window: which event ids were appended to a partition of late.
//!
//! An event is a duplicate if the same (item, type, id) was appended to the same partition in the
//! same or the last `n` append-time minutes. What was appended counts, duplicates too, so the
//! window is rebuilt from any log that reaches back `n` minutes.
//!
//! Ids are kept as 120 bits of a keyed 128-bit hash with one byte for the minute they were last
//! seen in, 16 bytes together, in 256 tables so that growing and sweeping touch a little at a time.
//! The tables are three quarters full on average, each grows at its own time: 23 bytes an id.
//!
//! ```text
//! entry = hash bits 127..8 | generation: append minute modulo 256 (bits 7..0)
//! ```
//!
//! That two ids of a window share 120 bits has a chance below 2^-64 even with 10^8 ids in it.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use self::table::{OrderedTable, SLOT_BYTES, slots_for};
use crate::limits::DEDUP_MINUTES_MAX;
use crate::record::Record;

mod table;

const SHARDS: usize = 256;

/// The ids of a partition's last append minutes.
pub struct DedupWindow {
    hash_keys: (u64, u64),
    shards: Vec<OrderedTable>,
    /// Length of the window in minutes.
    minutes: u32,
    /// Entries of minutes before this one are forgotten, whether or not they were swept.
    start_minute: u32,
    /// The append minute that is now.
    now_minute: u32,
    /// The next shard to sweep; `SHARDS` when all were swept since `start_minute` moved.
    sweep_at: usize,
    slots: u64,
    ids: u64,
}

impl DedupWindow {
    /// An empty window. The keys seed the hash: random in production, so that no client can choose
    /// ids that collide; they need not be the same after a restart.
    ///
    /// # Panics
    /// When `minutes` is 0 or above [`DEDUP_MINUTES_MAX`].
    pub fn new(minutes: u32, hash_keys: (u64, u64)) -> Self {
        assert!((1..=DEDUP_MINUTES_MAX).contains(&minutes));
        Self {
            hash_keys,
            shards: (0..SHARDS).map(|shard| OrderedTable::new(shard as u8)).collect(),
            minutes,
            start_minute: 0,
            now_minute: 0,
            sweep_at: SHARDS,
            slots: 0,
            ids: 0,
        }
    }

    /// Continues a window whose start was stored in a checkpoint; its ids are to be observed again.
    pub fn resume(minutes: u32, start_minute: u32, hash_keys: (u64, u64)) -> Self {
        let window = Self::new(minutes, hash_keys);
        Self { start_minute, now_minute: start_minute, ..window }
    }

    /// The hash under which a record is known.
    pub fn hash(&self, record: &Record<'_>) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.hash_keys.0, self.hash_keys.1);
        hasher.write(&record.identity());
        hasher.finish128().as_u128()
    }

    /// The first append minute that still counts.
    pub fn start_minute(&self) -> u32 {
        self.start_minute
    }

    /// Length in minutes.
    pub fn minutes(&self) -> u32 {
        self.minutes
    }

    /// Sets the length from here on. A longer window reaches back only as far as the one before
    /// did, until time has passed: what was forgotten stays forgotten, in every replay alike.
    pub fn set_minutes(&mut self, minutes: u32) {
        assert!((1..=DEDUP_MINUTES_MAX).contains(&minutes));
        self.minutes = minutes;
        self.move_start();
    }

    /// Moves on to an append minute; minutes never go back.
    pub fn advance(&mut self, minute: u32) {
        assert!(minute >= self.now_minute, "append time never goes back");
        if minute == self.now_minute {
            return;
        }
        if minute - self.now_minute > self.minutes {
            self.shards.iter_mut().for_each(OrderedTable::clear);
            self.ids = 0;
            self.sweep_at = SHARDS;
        } else {
            // Every shard is swept at least once a minute, so that no generation wraps around.
            while self.sweep_a_shard() {}
        }
        self.now_minute = minute;
        self.move_start();
    }

    fn move_start(&mut self) {
        let start = self.now_minute.saturating_sub(self.minutes);
        if start > self.start_minute {
            self.start_minute = start;
            self.sweep_at = 0;
        }
    }

    /// Notes that an id was appended now; whether it had been within the window.
    pub fn observe(&mut self, hash: u128) -> bool {
        let entry = known_bits(hash) | u128::from(self.now_minute as u8);
        let shard = &mut self.shards[shard_of(hash)];
        let slots = shard.slots();
        let before = shard.replace(entry);
        self.slots = self.slots - slots + shard.slots();
        match before {
            Some(before) => minute_of(before, self.now_minute) >= self.start_minute,
            None => {
                self.ids += 1;
                false
            }
        }
    }

    /// Fetches where these ids are looked for, so that whoever observes them next waits for many
    /// cache lines at once.
    pub fn fetch(&self, hashes: &[u128]) {
        let first = |hash: &u128| self.shards[shard_of(*hash)].first(*hash).unwrap_or(0);
        std::hint::black_box(hashes.iter().fold(0, |all, hash| all ^ first(hash)));
    }

    /// Makes room for so many more ids at once, where they are known to come: growing step by step
    /// moves every entry several times.
    pub fn reserve(&mut self, ids: u64) {
        let each = usize::try_from(ids).unwrap_or(usize::MAX) / SHARDS;
        for shard in &mut self.shards {
            let slots = shard.slots();
            shard.reserve(each);
            self.slots = self.slots - slots + shard.slots();
        }
    }

    /// Forgets what is too old in the next shard; whether there is more to sweep. Called now and
    /// then it keeps each pause short.
    pub fn sweep_a_shard(&mut self) -> bool {
        let Some(shard) = self.shards.get_mut(self.sweep_at) else { return false };
        let (now_minute, start_minute) = (self.now_minute, self.start_minute);
        let (slots, len) = (shard.slots(), shard.len());
        shard.retain(|entry| minute_of(entry, now_minute) >= start_minute);
        self.slots = self.slots - slots + shard.slots();
        self.ids -= (len - shard.len()) as u64;
        self.sweep_at += 1;
        self.sweep_at < SHARDS
    }

    /// Number of ids kept, those not yet swept included.
    pub fn ids(&self) -> u64 {
        self.ids
    }

    /// Memory of the tables in bytes.
    pub fn bytes(&self) -> u64 {
        self.slots * SLOT_BYTES
    }
}

/// Memory that the tables take once they hold so many ids, in bytes.
pub fn bytes_for(ids: u64) -> u64 {
    // Ids are spread evenly but for chance.
    let each = ids / SHARDS as u64;
    let largest = each.saturating_add(4 * each.isqrt() + 4);
    slots_for(largest).saturating_mul(SHARDS as u64 * SLOT_BYTES)
}

/// The minute of an entry, which is at most 255 minutes ago.
fn minute_of(entry: u128, now_minute: u32) -> u32 {
    let age = (now_minute as u8).wrapping_sub(entry as u8);
    now_minute.saturating_sub(u32::from(age))
}

/// Which table an id is in.
fn shard_of(hash: u128) -> usize {
    (hash >> 120) as usize
}

/// The bits by which an id is known, above those of its minute; never all 0, which is no entry.
fn known_bits(hash: u128) -> u128 {
    (hash & !0xff).max(1 << 8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn spread(id: u16) -> u128 {
        // Any good mix: the window takes hashes.
        let mixed = u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        mixed ^ (mixed >> 61)
    }

    #[test]
    fn bounds_of_the_window() {
        let mut window = DedupWindow::new(10, (1, 2));
        window.advance(100);
        assert!(!window.observe(spread(1)));
        assert!(window.observe(spread(1)));
        window.advance(110);
        assert!(window.observe(spread(1)), "ten minutes later is within");
        window.advance(121);
        assert!(!window.observe(spread(1)), "eleven minutes later is not");
    }

    #[test]
    fn room_that_was_made_is_enough_and_is_counted() {
        let mut window = DedupWindow::new(10, (1, 2));
        window.advance(100);
        assert!(!window.observe(spread(0)));
        window.reserve(40_000);
        let bytes = window.bytes();
        assert!(bytes >= 40_000 * 16, "{bytes}");
        (1..10_000).for_each(|id| assert!(!window.observe(spread(id))));
        assert_eq!((window.ids(), window.bytes()), (10_000, bytes));
        assert!(window.observe(spread(0)));
    }

    #[test]
    fn the_memory_for_ids_is_known_before_they_come() {
        let mut window = DedupWindow::new(10, (1, 2));
        window.advance(100);
        for id in 1..=200_000_u64 {
            window.observe(
                u128::from(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(id) << 8,
            );
            if id % 1_000 == 0 {
                let (bytes, told) = (window.bytes(), bytes_for(id));
                assert!(bytes <= told && told <= 5 * bytes, "{id}: {bytes}, told {told}");
                assert!(id < 100_000 || bytes <= 24 * id, "{id}: {bytes}");
            }
        }
        assert!(bytes_for(u64::MAX) > 1 << 60);
    }

    #[test]
    fn old_ids_give_their_memory_back() {
        let mut window = DedupWindow::new(1, (1, 2));
        window.advance(1);
        for id in 0..60_000 {
            window.observe(spread(id));
        }
        let full = window.bytes();
        assert!(full >= 60_000 * 17 && window.ids() == 60_000);
        for minute in 2..6 {
            window.advance(minute);
            while window.sweep_a_shard() {}
        }
        assert_eq!(window.ids(), 0);
        assert!(window.bytes() < full / 4, "{} of {full}", window.bytes());
    }

    proptest! {
        /// The oracle keeps the last append minute of every id for ever.
        #[test]
        fn equals_the_definition(
            minutes in 1u32..=DEDUP_MINUTES_MAX,
            steps in proptest::collection::vec((0u32..200, 0u16..40, 0usize..300), 1..200),
            changes in proptest::collection::vec((0usize..200, 1u32..=DEDUP_MINUTES_MAX), 0..3),
        ) {
            let mut window = DedupWindow::new(minutes, (1, 2));
            let (mut now, mut start, mut length) = (1_000_000, 0, minutes);
            window.advance(now);
            let mut seen: HashMap<u16, u32> = HashMap::new();
            for (at, (passed, id, sweeps)) in steps.into_iter().enumerate() {
                if let Some((_, changed)) = changes.iter().find(|(when, _)| *when == at) {
                    length = *changed;
                    start = start.max(now - length);
                    window.set_minutes(length);
                }
                // Most steps stay within the minute.
                now += passed.saturating_sub(150);
                start = start.max(now - length);
                window.advance(now);
                for _ in 0..sweeps {
                    window.sweep_a_shard();
                }
                let expected = seen.insert(id, now).is_some_and(|minute| minute >= start);
                prop_assert_eq!(window.observe(spread(id)), expected);
            }
        }
    }
}
