//! What a copy of the log takes: files that stay, and how much of each is durable.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use engine::ports::{LogBounds, PortError};
use model::PartitionId;

use super::EmbeddedLog;

/// The log as it was at one moment. Nothing of it is let go of while this lives.
pub struct PinnedLog<'l> {
    log: &'l EmbeddedLog,
    /// In partition order.
    pub partitions: Vec<PinnedPartition>,
}

/// A partition of it.
#[derive(Clone, Debug)]
pub struct PinnedPartition {
    /// Which one.
    pub partition: PartitionId,
    /// What it held at that moment.
    pub bounds: LogBounds,
    /// Its segments, oldest first.
    pub files: Vec<PinnedFile>,
}

/// A segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// Where it is.
    pub path: PathBuf,
    /// So many bytes from its front belong to it; what follows is to be zeros in a copy, as it may be
    /// half written and was never acknowledged.
    pub kept_bytes: u64,
}

impl EmbeddedLog {
    /// Keeps the log as it is now, in its files, while new records go on being appended.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes are wrong, `Unavailable` where the disk refuses.
    pub fn pin(&self) -> Result<PinnedLog<'_>, PortError> {
        self.pins.fetch_add(1, Ordering::SeqCst);
        let mut pinned = PinnedLog { log: self, partitions: Vec::new() };
        let mut seen = Vec::with_capacity(self.partitions.len());
        for partition in self.partitions.iter() {
            // A removal that was under way ends first; the next one sees the pin.
            drop(partition.leaving.lock());
            seen.push(partition.published.all());
        }
        for (n, (segments, bounds)) in (0..).zip(seen) {
            let mut files = Vec::with_capacity(segments.len());
            for (at, segment) in segments.iter().enumerate() {
                let kept_bytes = match segments.get(at + 1) {
                    Some(_) => segment.bytes,
                    None => segment.position_of(&*self.disk, bounds.durable_offset)?,
                };
                files.push(PinnedFile { path: segment.path.clone(), kept_bytes });
            }
            pinned.partitions.push(PinnedPartition { partition: PartitionId(n), bounds, files });
        }
        Ok(pinned)
    }
}

impl Drop for PinnedLog<'_> {
    fn drop(&mut self) {
        self.log.pins.fetch_sub(1, Ordering::SeqCst);
    }
}
