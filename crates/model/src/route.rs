//! Which partition an event goes to: a pure function, so that a repeat meets its original.

use crate::partition::PartitionId;

/// The versions of routing; today the first, fixed when a data folder is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    /// Number of partitions of version 1.
    pub partitions: u16,
}

impl RoutingTable {
    /// The partition of an item: `murmur3(item) mod partitions`.
    pub fn route(&self, item: &str) -> PartitionId {
        PartitionId((murmur3_x86_32(item.as_bytes()) % u32::from(self.partitions)) as u16)
    }

    /// The partitions that may have counted events of an item.
    pub fn partitions_of(&self, item: &str) -> impl Iterator<Item = PartitionId> + use<> {
        std::iter::once(self.route(item))
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
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_vectors() {
        // Verified against the reference implementation's well known results for seed 0.
        for (text, expected) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur3_x86_32(text.as_bytes()), expected, "{text}");
        }
    }
}
