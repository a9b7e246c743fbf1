//! Bit flips at rest in what the log promises to notice: everything that a later sync group proves
//! to have been durable. A flip in the very last group looks like a torn write and is not promised.

use std::ops::Range;
use std::path::{Path, PathBuf};

use adapters::embedded::mem_disk::MemDisk;
use engine::ports::PortError;

use crate::chance::Chance;

const SEGMENT_HEADER_BYTES: usize = 48;
const BATCH_HEADER_BYTES: usize = 56;

/// A flipped bit, and how to flip it back.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    /// The file.
    pub(crate) path: PathBuf,
    /// The byte in it.
    pub(crate) position: usize,
    original: u8,
}

impl Damage {
    /// Flips a bit somewhere. `durable` is for each partition the first offset that is not.
    pub(crate) fn strike(disk: &MemDisk, chance: &mut Chance, durable: &[u64]) -> Option<Self> {
        let mut paths = disk.paths();
        paths.retain(|path| path.extension().is_some_and(|extension| extension != "tmp"));
        if paths.is_empty() {
            return None;
        }
        let path = paths.swap_remove(chance.index(paths.len()));
        let bytes = disk.bytes(&path)?;
        let range = promised(&path, &bytes, durable)?;
        let position = range.start + chance.index(range.len());
        disk.flip_bit(&path, position, chance.below(8) as u8);
        Some(Self { path, position, original: bytes[position] })
    }

    /// Restores the byte, where the file is still there.
    pub(crate) fn undo(&self, disk: &MemDisk) {
        if disk.bytes(&self.path).is_some_and(|bytes| bytes.len() > self.position) {
            disk.damage(&self.path, self.position, &[self.original]);
        }
    }

    /// Whether an error says which file is damaged.
    pub(crate) fn is_named_by(&self, error: &PortError) -> bool {
        error.context.contains(&self.path.display().to_string())
    }
}

/// The bytes of a file whose damage must be noticed or can do no harm.
fn promised(path: &Path, bytes: &[u8], durable: &[u64]) -> Option<Range<usize>> {
    if path.extension()? != "log" {
        return (!bytes.is_empty()).then_some(0..bytes.len());
    }
    let partition: usize = path.parent()?.file_name()?.to_str()?.parse().ok()?;
    let mut end = SEGMENT_HEADER_BYTES;
    let mut proven = 0;
    let mut batches = Vec::new();
    while let Some(header) = bytes.get(end..end + BATCH_HEADER_BYTES) {
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight"));
        let (stored_len, record_count) = (number(8) as u32, number(40) as u32);
        let next_offset = number(16) + u64::from(record_count);
        // A write that broke off may have left half a header behind.
        let follows = batches.last().is_none_or(|(end, _)| *end == number(16)) && record_count > 0;
        if header[..1] != [0xfe] || !follows || next_offset > durable[partition] {
            break;
        }
        end += BATCH_HEADER_BYTES + stored_len as usize;
        proven = number(32);
        batches.push((next_offset, end));
    }
    // The last durable batch proves what was durable when it was written.
    let last = batches.iter().rev().find(|(next_offset, _)| *next_offset <= proven);
    last.map(|&(_, end)| 0..end)
}
