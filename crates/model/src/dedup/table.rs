//! A table of entries in the order of their hashes: linear probing in order.
//!
//! Each slot is the home of an equal part of all hashes. An entry lies at its home or as little
//! behind it as the smaller ones allow, so a search ends at the first greater entry. As the whole
//! table is in order, growing and sweeping pass over it once. It need not be a power of two large:
//! it grows by half when it is 7/8 full, and tables of different `stagger` do so at different
//! times, so that many of them together always take some 23 bytes an entry.

/// Bytes of a slot.
pub(super) const SLOT_BYTES: u64 = 16;
/// Homes of the smallest table that has any.
const HOMES_MIN: usize = 16;
/// Slots behind the last home, and more of them each time they are used up.
const SPILL: usize = 32;

/// Entries of 120 bits of a hash over 8 bits of something else; 0 is none. The first 8 bits of the
/// hashes are the same for all.
pub(super) struct OrderedTable {
    slots: Vec<u128>,
    homes: usize,
    len: usize,
    stagger: u8,
}

impl OrderedTable {
    /// An empty table.
    pub(super) fn new(stagger: u8) -> Self {
        Self { slots: Vec::new(), homes: 0, len: 0, stagger }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Slots that are allocated.
    pub(super) fn slots(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Where a search for the hash begins; none while the table is empty.
    pub(super) fn first(&self, hash: u128) -> Option<u128> {
        self.slots.get(home(hash, self.homes)).copied()
    }

    /// Puts an entry in the place of the one with its hash, which is given back, or in its own.
    pub(super) fn replace(&mut self, entry: u128) -> Option<u128> {
        let key = entry | 0xff;
        let from = home(entry, self.homes);
        let behind =
            self.slots[from..].iter().position(|there| *there == 0 || (there | 0xff) >= key);
        let at = behind.map_or(self.slots.len(), |behind| from + behind);
        match self.slots.get_mut(at) {
            Some(there) if (*there | 0xff) == key && *there != 0 => {
                return Some(std::mem::replace(there, entry));
            }
            _ => {}
        }
        if self.len >= limit(self.homes) {
            self.rebuild(self.homes_with_room_for(self.len + 1));
            return self.replace(entry);
        }
        let end = self.slots[at..].iter().position(|there| *there == 0).map(|free| at + free);
        let end = end.unwrap_or_else(|| spill(&mut self.slots));
        self.slots.copy_within(at..end, at + 1);
        self.slots[at] = entry;
        self.len += 1;
        None
    }

    /// Makes room for so many more entries.
    pub(super) fn reserve(&mut self, more: usize) {
        let homes = homes_for(self.len.saturating_add(more));
        if homes > self.homes {
            self.rebuild(homes);
        }
    }

    /// Forgets all entries and keeps their room.
    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    /// Forgets all other entries, and gives back room if little is left in it.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u128) -> bool) {
        let mut next = 0;
        for at in 0..self.slots.len() {
            let entry = std::mem::take(&mut self.slots[at]);
            if entry != 0 && keep(entry) {
                // Never behind `at`: nothing before it has moved backwards.
                let to = home(entry, self.homes).max(next);
                self.slots[to] = entry;
                next = to + 1;
            } else if entry != 0 {
                self.len -= 1;
            }
        }
        if self.homes > 4 * self.len + 64 {
            self.rebuild(self.homes_with_room_for(2 * self.len));
        }
    }

    /// The least of the table's own sizes, each half again as large as the one before, that holds so
    /// many entries.
    fn homes_with_room_for(&self, entries: usize) -> usize {
        let enough = homes_for(entries);
        let mut homes_256 = HOMES_MIN * (512 + usize::from(self.stagger)) / 2;
        while homes_256 / 256 < enough {
            homes_256 += homes_256 / 2;
        }
        homes_256 / 256
    }

    /// Moves all entries, in order, into a table of so many homes.
    fn rebuild(&mut self, homes: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; homes + SPILL]);
        self.homes = homes;
        let mut next = 0;
        for entry in old.into_iter().filter(|entry| *entry != 0) {
            let to = home(entry, homes).max(next);
            if to == self.slots.len() {
                spill(&mut self.slots);
            }
            self.slots[to] = entry;
            next = to + 1;
        }
    }
}

/// Slots that a table takes at most once it holds so many entries.
pub(super) fn slots_for(entries: u64) -> u64 {
    let full = entries.saturating_mul(8) / 7;
    // Grown by half just before, with the spill used up thrice.
    full.saturating_add(full / 2).saturating_add((2 * HOMES_MIN + 4 * SPILL) as u64)
}

/// Entries that a table of so many homes holds before it grows.
fn limit(homes: usize) -> usize {
    homes * 7 / 8
}

/// The fewest homes for so many entries.
fn homes_for(entries: usize) -> usize {
    entries.saturating_mul(8).div_ceil(7).max(HOMES_MIN)
}

/// A place for each hash, in their order.
fn home(hash: u128, homes: usize) -> usize {
    let spread = (hash << 8 >> 64) * homes as u128;
    (spread >> 64) as usize
}

/// Adds free slots to the end; where they begin.
fn spill(slots: &mut Vec<u128>) -> usize {
    let end = slots.len();
    slots.reserve_exact(SPILL);
    slots.resize(end + SPILL, 0);
    end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Every entry is at its home or behind entries without a gap, and all are in order.
    fn check(table: &OrderedTable) {
        let mut before = None;
        let mut free = 0;
        for (at, entry) in table.slots.iter().enumerate() {
            if *entry == 0 {
                free = at + 1;
                continue;
            }
            assert!(before < Some(entry >> 8), "{at}");
            before = Some(entry >> 8);
            let home = home(*entry, table.homes);
            assert!(free <= home && home <= at, "{free} {home} {at}");
        }
        let there = table.slots.iter().filter(|entry| **entry != 0).count();
        assert_eq!(there, table.len());
        assert!(table.slots() <= slots_for(table.len() as u64) || table.homes == HOMES_MIN);
    }

    fn entry(id: u64, low: u8) -> u128 {
        let mixed = id.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u128::from(mixed) << 56 | u128::from(low)
    }

    #[test]
    fn grows_by_half_and_stays_in_order() {
        let mut table = OrderedTable::new(0);
        for id in 0..50_000 {
            assert_eq!(table.replace(entry(id, 1)), None);
            if id % 997 == 0 {
                check(&table);
            }
        }
        for id in 0..50_000 {
            assert_eq!(table.replace(entry(id, 2)), Some(entry(id, 1)));
        }
        check(&table);
    }

    #[test]
    fn hashes_that_are_all_large_spill_over_the_end() {
        let mut table = OrderedTable::new(200);
        for low in 0..2_000_u128 {
            assert_eq!(table.replace((u128::MAX >> 8) - (low << 8)), None);
        }
        for low in 0..2_000_u128 {
            assert!(table.replace((u128::MAX >> 8) - (low << 8)).is_some());
        }
        assert_eq!(table.len(), 2_000);
    }

    proptest! {
        #[test]
        fn equals_a_map(
            steps in proptest::collection::vec((0u64..400, 0u8..6, 0u8..40), 1..600),
        ) {
            let mut table = OrderedTable::new(200);
            let mut map = BTreeMap::new();
            for (id, low, what) in steps {
                match what {
                    0 => {
                        table.retain(|entry| entry as u8 >= low);
                        map.retain(|_, kept| *kept >= low);
                    }
                    1 => table.reserve(usize::from(low) * 50),
                    2 if id < 20 => {
                        table.clear();
                        map.clear();
                    }
                    _ => {
                        let before = table.replace(entry(id, low)).map(|entry| entry as u8);
                        prop_assert_eq!(before, map.insert(id, low));
                    }
                }
                prop_assert_eq!(table.len(), map.len());
            }
            let there = table.slots.iter().filter(|entry| **entry != 0).count();
            prop_assert_eq!(there, table.len());
        }
    }
}
