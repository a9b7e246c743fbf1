//! A file of the disk in memory: what programs see of it, and what would outlive a power failure.

use super::SECTOR_BYTES;

#[derive(Debug, Default)]
pub(super) struct Inode {
    /// What reads see.
    pub(super) cached: Vec<u8>,
    /// What is on the medium; shorter than `cached` until the first sync.
    pub(super) durable: Vec<u8>,
    /// Written but not synced, oldest first.
    pub(super) pending: Vec<(usize, Vec<u8>)>,
}

impl Inode {
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for (position, bytes) in self.pending.drain(..) {
            self.durable[position..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// A sync that fails: some of it reached the medium, and none is known as unwritten any more.
    pub(super) fn fail_sync(&mut self, random: &mut u64) {
        self.keep_some(random);
    }

    pub(super) fn lose_power(&mut self, random: &mut u64) {
        self.keep_some(random);
        self.cached = self.durable.clone();
    }

    /// Moves any subset of the unsynced sectors to the medium: all, none or each by chance.
    fn keep_some(&mut self, random: &mut u64) {
        let fate = draw(random) % 4;
        if self.durable.len() < self.cached.len() && (!self.pending.is_empty() || fate != 0) {
            self.durable.resize(self.cached.len(), 0);
        }
        for (position, bytes) in self.pending.drain(..) {
            let mut at = 0;
            while at < bytes.len() {
                let sector = (position + at) / SECTOR_BYTES;
                let end = ((sector + 1) * SECTOR_BYTES - position).min(bytes.len());
                if fate == 1 || (fate > 1 && coin(random)) {
                    self.durable[position + at..position + end].copy_from_slice(&bytes[at..end]);
                }
                at = end;
            }
        }
    }
}

/// The next number of a sequence that looks random (splitmix64).
pub(super) fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

pub(super) fn coin(state: &mut u64) -> bool {
    draw(state) & 1 == 1
}
