//! The sparse index of a segment: where to begin reading for an offset or an append time. In
//! memory for the segment that grows; a file beside each sealed one, which is only a cache.
//!
//! ```text
//! <base_offset, 20 digits>.index
//!
//! byte  size  all numbers little-endian
//!    0     8  magic "TALLYIDX"
//!    8     4  CRC32C of everything after it
//!   12     2  format version, 1
//!   14     2  partition
//!   16     8  base_offset of the segment
//!   24     8  number of entries
//!   32        entry*    entry = offset, position, append_time of a batch, 8 bytes each
//! ```

use std::path::Path;

use model::{Offset, TimestampMs};

use super::batch::{BatchHeader, u32_at, u64_at};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::embedded::disk::Disk;

const MAGIC: &[u8; 8] = b"TALLYIDX";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 24;
/// A batch is noted when it begins this far behind the last one noted: a look-up then reads at
/// most this much and one batch for nothing, and a segment of 64 MiB has at most 1,024 entries.
const EVERY_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: Offset,
    position: u64,
    append_time: TimestampMs,
}

/// Places of some batches of a segment, in order; the first is where batches begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index(Vec<Entry>);

impl Index {
    pub(super) fn new(segment: &SegmentHeader) -> Self {
        Self(vec![Entry {
            offset: segment.base_offset,
            position: SEGMENT_HEADER_BYTES as u64,
            append_time: segment.append_time,
        }])
    }

    /// Notes a batch if it is far enough from the last one noted.
    pub(super) fn note(&mut self, batch: &BatchHeader, position: u64) {
        if position >= self.0[self.0.len() - 1].position + EVERY_BYTES {
            self.0.push(Entry {
                offset: batch.base_offset,
                position,
                append_time: batch.append_time,
            });
        }
    }

    /// Offset and position of a batch that begins at or before an offset.
    pub(super) fn at_offset(&self, offset: Offset) -> (Offset, u64) {
        self.last_where(|entry| entry.offset <= offset)
    }

    /// Offset and position of a batch such that all before it were appended before a time.
    pub(super) fn before_time(&self, time: TimestampMs) -> (Offset, u64) {
        self.last_where(|entry| entry.append_time < time)
    }

    fn last_where(&self, is_before: impl FnMut(&Entry) -> bool) -> (Offset, u64) {
        let after = self.0.partition_point(is_before);
        let entry = self.0[after.saturating_sub(1)];
        (entry.offset, entry.position)
    }

    pub(super) fn to_bytes(&self, segment: &SegmentHeader) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.0.len() * ENTRY_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&segment.partition.0.to_le_bytes());
        bytes.extend_from_slice(&segment.base_offset.0.to_le_bytes());
        bytes.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        for entry in &self.0 {
            bytes.extend_from_slice(&entry.offset.0.to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.append_time.0.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8], segment: &SegmentHeader) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let count = usize::try_from(u64_at(header, 24)).ok()?;
        let is_of_segment = &header[..8] == MAGIC
            && crc32c::crc32c(&bytes[12..]) == u32_at(header, 8)
            && header[12..14] == VERSION.to_le_bytes()
            && header[14..16] == segment.partition.0.to_le_bytes()
            && u64_at(header, 16) == segment.base_offset.0
            && count > 0
            && count.checked_mul(ENTRY_BYTES)? == bytes.len() - HEADER_BYTES;
        let entry = |bytes: &[u8]| Entry {
            offset: Offset(u64_at(bytes, 0)),
            position: u64_at(bytes, 8),
            append_time: TimestampMs(u64_at(bytes, 16) as i64),
        };
        is_of_segment.then(|| Self(bytes[HEADER_BYTES..].chunks(ENTRY_BYTES).map(entry).collect()))
    }

    /// The index beside a sealed segment; none where it is missing or bad.
    pub(super) fn load(disk: &dyn Disk, segment: &Path, header: &SegmentHeader) -> Option<Self> {
        let file = disk.open(&segment.with_extension("index")).ok()?;
        let mut bytes = vec![0; usize::try_from(file.size().ok()?).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        Self::read(&bytes, header)
    }

    /// Writes the index beside a sealed segment. It can be made anew, so nothing is synced and
    /// nobody needs to know of a failure.
    pub(super) fn save(&self, disk: &dyn Disk, segment: &Path, header: &SegmentHeader) {
        let path = segment.with_extension("index");
        let bytes = self.to_bytes(header);
        let written =
            disk.create(&path, bytes.len() as u64).and_then(|file| file.write_at(0, &bytes));
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "index not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::PartitionId;

    fn segment() -> SegmentHeader {
        SegmentHeader {
            partition: PartitionId(2),
            log_epoch: 1,
            base_offset: Offset(100),
            previous_base_offset: None,
            append_time: TimestampMs(1_000),
        }
    }

    fn index() -> Index {
        let mut index = Index::new(&segment());
        for n in 1..=3u64 {
            index.0.push(Entry {
                offset: Offset(100 + n * 10),
                position: 48 + n * EVERY_BYTES,
                append_time: TimestampMs(1_000 + n as i64 * 5),
            });
        }
        index
    }

    #[test]
    fn looks_up_by_offset_and_by_time() {
        let index = index();
        for (offset, expected) in [(100, 100), (109, 100), (110, 110), (999, 130)] {
            assert_eq!(index.at_offset(Offset(offset)).0, Offset(expected), "offset {offset}");
        }
        for (time, expected) in [(0, 100), (1_005, 100), (1_006, 110), (9_999, 130)] {
            assert_eq!(index.before_time(TimestampMs(time)).0, Offset(expected), "time {time}");
        }
    }

    #[test]
    fn golden_bytes() {
        let mut index = index();
        index.0.truncate(2);
        let bytes = index.to_bytes(&segment());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Behind the checksum: version, partition, base offset, number of entries, and two of them.
        let expected = [
            "0100",
            "0200",
            "6400000000000000",
            "0200000000000000",
            "64000000000000003000000000000000e803000000000000",
            "6e000000000000003000010000000000ed03000000000000",
        ];
        assert_eq!(hex[..16], *"54414c4c59494458");
        assert_eq!(hex[24..], expected.concat());
    }

    #[test]
    fn written_and_read_back_or_refused() {
        let bytes = index().to_bytes(&segment());
        assert_eq!(Index::read(&bytes, &segment()), Some(index()));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Index::read(&bytes, &segment()), None, "bit {bit}");
        }
        assert_eq!(Index::read(&bytes[..bytes.len() - 1], &segment()), None);
        let other = SegmentHeader { base_offset: Offset(101), ..segment() };
        assert_eq!(Index::read(&bytes, &other), None);
        assert_eq!(Index::read(&[], &segment()), None);
    }
}
