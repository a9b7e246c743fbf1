//! A segment: one file of a partition's log, of a fixed size, filled from the front.
//!
//! ```text
//! <dir>/<partition>/<base_offset, 20 digits>.log
//!
//! byte  size  all numbers little-endian
//!    0     8  magic "TALLYSEG"
//!    8     2  format version, 1
//!   10     2  partition
//!   12     4  log_epoch when the segment was begun
//!   16     8  base_offset: offset of the first record; everything below it was durable then
//!   24     8  base_offset of the segment before, all ones when there was none
//!   32     8  append_time: the newest in the log when the segment was begun
//!   40     4  0
//!   44     4  CRC32C of bytes 0 to 43
//!   48        batches without a gap, then zeros
//! ```
//!
//! A segment gets its name only when its header is durable, and is begun only when everything in
//! the one before is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

use super::batch::{BadBatch, BatchHeader, HEADER_BYTES, u32_at, u64_at};
use super::index::Index;
use crate::embedded::disk::{Disk, DiskFile};

/// Where the first batch of a segment begins.
pub(super) const SEGMENT_HEADER_BYTES: usize = 48;

const MAGIC: &[u8; 8] = b"TALLYSEG";
/// The format of a segment.
pub(super) const VERSION: u16 = 1;
/// How much is read from a file at once: large enough that system calls do not count.
const READ_BYTES: usize = 256 << 10;
/// What an operator can do about damage.
pub(super) const REMEDY: &str = "acknowledged records are damaged: check the disk, and restore the \
     data folder from a backup; nothing was changed";

/// What an operator can do about bytes of a later version.
const NEWER: &str =
    "a newer program wrote this: use that one, or one newer still; nothing was changed";

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) partition: PartitionId,
    pub(super) log_epoch: u32,
    pub(super) base_offset: Offset,
    pub(super) previous_base_offset: Option<Offset>,
    pub(super) append_time: TimestampMs,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let previous = self.previous_base_offset.map_or(u64::MAX, |offset| offset.0);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.partition.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.log_epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&previous.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.append_time.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of a segment's file; none where its first bytes are not one.
    pub(super) fn load(file: &dyn DiskFile) -> io::Result<Option<Self>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let len = file.size()?.min(SEGMENT_HEADER_BYTES as u64) as usize;
        file.read_at(0, &mut bytes[..len])?;
        Ok(Self::read(&bytes))
    }

    /// The version that a file's sound header says, known or not.
    pub(super) fn load_version(file: &dyn DiskFile) -> io::Result<Option<u16>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let len = file.size()?.min(SEGMENT_HEADER_BYTES as u64) as usize;
        file.read_at(0, &mut bytes[..len])?;
        Ok(Self::version(&bytes))
    }

    fn version(bytes: &[u8]) -> Option<u16> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES)?;
        let is_whole = crc32c::crc32c(&bytes[..44]) == u32_at(bytes, 44);
        let is_ours = is_whole && &bytes[..8] == MAGIC;
        is_ours.then(|| u16::from_le_bytes([bytes[8], bytes[9]]))
    }

    /// The header in front of a segment; none where the bytes are not one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEADER_BYTES)?;
        if Self::version(bytes) != Some(VERSION) {
            return None;
        }
        let previous = u64_at(bytes, 24);
        Some(Self {
            partition: PartitionId(u16::from_le_bytes([bytes[10], bytes[11]])),
            log_epoch: u32_at(bytes, 12),
            base_offset: Offset(u64_at(bytes, 16)),
            previous_base_offset: (previous != u64::MAX).then_some(Offset(previous)),
            append_time: TimestampMs(u64_at(bytes, 32) as i64),
        })
    }
}

/// The file name of a segment.
pub(super) fn file_name(base_offset: Offset) -> String {
    format!("{:020}.log", base_offset.0)
}

/// The base offset that a file name says; none where it is no segment's name.
pub(super) fn parse_file_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let is_name = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_name.then(|| digits.parse().ok().map(Offset))?
}

/// A segment that is there, to be read from.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Size of the file in bytes.
    pub(super) bytes: u64,
    /// None until it is needed.
    pub(super) index: Mutex<Option<Index>>,
}

impl Segment {
    /// Batches from the one that holds `from` on, all below `end`, at most about `bytes_max` of
    /// payload but at least one. The caller knows that the segment holds `from`.
    pub(super) fn read(
        &self,
        disk: &dyn Disk,
        from: Offset,
        end: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Batch<Bytes>>, PortError> {
        let file = self.open(disk)?;
        let (mut next_offset, mut position) =
            self.with_index(disk, &file, end, |index| index.at_offset(from))?;
        let mut window = Window::new(file, self.bytes);
        let mut batches = Vec::new();
        let mut bytes = 0;
        while next_offset < end {
            let (header, stored) = self.batch_at(&mut window, position, next_offset)?;
            if header.next_offset() > from {
                let batch =
                    header.open(stored).map_err(|bad| self.corrupt(position, next_offset, bad))?;
                bytes += batch.payload.len();
                if !batches.is_empty() && bytes > bytes_max {
                    break;
                }
                batches.push(batch);
            }
            position += header.size() as u64;
            next_offset = header.next_offset();
        }
        Ok(batches)
    }

    /// The first offset below `end` whose batch was appended at or after `time`; `end` where none
    /// was.
    pub(super) fn offset_at(
        &self,
        disk: &dyn Disk,
        time: TimestampMs,
        end: Offset,
    ) -> Result<Offset, PortError> {
        let file = self.open(disk)?;
        let (mut next_offset, mut position) =
            self.with_index(disk, &file, end, |index| index.before_time(time))?;
        let mut window = Window::new(file, self.bytes);
        while next_offset < end {
            let (header, _) = self.batch_at(&mut window, position, next_offset)?;
            if header.append_time >= time {
                break;
            }
            position += header.size() as u64;
            next_offset = header.next_offset();
        }
        Ok(next_offset)
    }

    /// Where the batches below an offset end, which is where one begins or ends.
    pub(super) fn position_of(&self, disk: &dyn Disk, end: Offset) -> Result<u64, PortError> {
        let file = self.open(disk)?;
        let (mut next_offset, mut position) =
            self.with_index(disk, &file, end, |index| index.at_offset(end))?;
        let mut window = Window::new(file, self.bytes);
        while next_offset < end {
            let (header, _) = self.batch_at(&mut window, position, next_offset)?;
            position += header.size() as u64;
            next_offset = header.next_offset();
        }
        Ok(position)
    }

    fn batch_at<'a>(
        &self,
        window: &'a mut Window,
        position: u64,
        expected: Offset,
    ) -> Result<(BatchHeader, &'a [u8]), PortError> {
        let (header, stored) = window
            .batch_at(position)
            .map_err(|error| unreadable(&self.path, error))?
            .map_err(|bad| self.corrupt(position, expected, bad))?;
        if header.base_offset != expected || header.partition != self.header.partition {
            return Err(self.corrupt(position, expected, BadBatch::Order));
        }
        Ok((header, stored))
    }

    /// Looks something up in the index; reads it from its file or makes it anew where it is not
    /// in memory.
    fn with_index<T>(
        &self,
        disk: &dyn Disk,
        file: &Arc<dyn DiskFile>,
        end: Offset,
        look_up: impl FnOnce(&Index) -> T,
    ) -> Result<T, PortError> {
        let mut index = self.index.lock();
        if index.is_none() {
            *index = Some(match Index::load(disk, &self.path, &self.header) {
                Some(index) => index,
                None => {
                    let rebuilt = self.rebuild_index(file, end)?;
                    rebuilt.save(disk, &self.path, &self.header);
                    rebuilt
                }
            });
        }
        Ok(look_up(index.as_ref().expect("it was just filled")))
    }

    fn rebuild_index(&self, file: &Arc<dyn DiskFile>, end: Offset) -> Result<Index, PortError> {
        let mut index = Index::new(&self.header);
        let mut window = Window::new(file.clone(), self.bytes);
        let (mut next_offset, mut position) =
            (self.header.base_offset, SEGMENT_HEADER_BYTES as u64);
        while next_offset < end {
            let (header, _) = self.batch_at(&mut window, position, next_offset)?;
            index.note(&header, position);
            position += header.size() as u64;
            next_offset = header.next_offset();
        }
        Ok(index)
    }

    fn open(&self, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, PortError> {
        disk.open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let context = format!("{} is no longer kept", self.path.display());
                PortError::caused(ErrorKind::Invalid, context, error)
            }
            _ => unreadable(&self.path, error),
        })
    }

    fn corrupt(&self, position: u64, offset: Offset, bad: BadBatch) -> PortError {
        corrupt(&self.path, position, offset, bad)
    }
}

/// The error for a file that the disk does not give.
pub(super) fn unreadable(path: &Path, error: io::Error) -> PortError {
    let context = format!("cannot read {}: check the disk", path.display());
    PortError::caused(ErrorKind::Unavailable, context, error)
}

/// The error that names damage to the operator.
pub(super) fn corrupt(path: &Path, position: u64, offset: Offset, bad: BadBatch) -> PortError {
    let place = format!("{} at byte {position} (offset {offset})", path.display());
    let (kind, remedy) = match bad {
        BadBatch::Header => (ErrorKind::Invalid, NEWER),
        _ => (ErrorKind::Corrupt, REMEDY),
    };
    PortError::caused(kind, format!("{place}: {remedy}"), bad)
}

/// A part of a file in memory that moves forward with whoever reads batches.
struct Window {
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    start: u64,
    buf: Vec<u8>,
}

impl Window {
    fn new(file: Arc<dyn DiskFile>, file_bytes: u64) -> Self {
        Self { file, file_bytes, start: 0, buf: Vec::new() }
    }

    /// The batch at a position, or why there is none.
    fn batch_at(&mut self, position: u64) -> io::Result<Result<(BatchHeader, &[u8]), BadBatch>> {
        self.load(position, HEADER_BYTES)?;
        if let Some(size) = BatchHeader::claimed_size(self.at(position)) {
            self.load(position, size)?;
        }
        Ok(BatchHeader::read(self.at(position)))
    }

    fn at(&self, position: u64) -> &[u8] {
        &self.buf[(position - self.start) as usize..]
    }

    /// Brings `len` bytes from a position into memory, less where the file ends before.
    fn load(&mut self, position: u64, len: usize) -> io::Result<()> {
        let left = self.file_bytes.saturating_sub(position);
        let end = self.start + self.buf.len() as u64;
        if position >= self.start && position + left.min(len as u64) <= end {
            return Ok(());
        }
        let len = left.min(len.max(READ_BYTES) as u64) as usize;
        self.buf.resize(len, 0);
        self.start = position;
        self.file.read_at(position, &mut self.buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = SegmentHeader {
            partition: PartitionId(1),
            log_epoch: 3,
            base_offset: Offset(700),
            previous_base_offset: Some(Offset(5)),
            append_time: TimestampMs(1_795_255_200_123),
        };
        let hex: String = header.to_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "54414c4c59534547010001000300\
             0000bc0200000000000005000000000000007b698cfda10100000000000068d10e4d"
        );
        assert_eq!(SegmentHeader::read(&header.to_bytes()), Some(header));
        let first = SegmentHeader { previous_base_offset: None, ..header };
        assert_eq!(SegmentHeader::read(&first.to_bytes()), Some(first));
    }

    #[test]
    fn only_segments_have_segment_names() {
        assert_eq!(parse_file_name(&file_name(Offset(42))), Some(Offset(42)));
        for name in ["42.log", "next.tmp", "00000000000000000042.index", "0000000000000000004x.log"]
        {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
