//! The end of a partition's log: puts batches into the segment that grows, begins the next one
//! when it is full, and makes them durable.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{ErrorKind, PortError};
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

use super::batch::BatchHeader;
use super::index::Index;
use super::published::Published;
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, file_name};
use crate::embedded::disk::{Disk, DiskFile};

/// Name of the segment that is made ahead; it gets its own when its header is durable.
pub(super) const PREPARED: &str = "next.tmp";

/// Where a partition's files are, and how large a segment is made.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) partition: PartitionId,
    pub(super) segment_bytes: u64,
    /// Room that a new segment leaves to others.
    pub(super) reserve_bytes: u64,
}

impl Place {
    fn prepare(&self) -> Result<Arc<dyn DiskFile>, WriteError> {
        let path = self.dir.join(PREPARED);
        // Nothing is written yet, so the same can be tried again when there is room.
        self.check_room()
            .and_then(|()| self.disk.create(&path, self.segment_bytes))
            .map_err(|error| WriteError::new("making", &path, false, error))
    }

    fn check_room(&self) -> io::Result<()> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let free = self.disk.free_bytes(&self.dir)?;
        if free >= self.segment_bytes.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let what = format!(
            "{free} bytes are free on the disk; a segment takes {} and {} are kept for counters: \
             make room",
            self.segment_bytes, self.reserve_bytes
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, what))
    }

    /// Makes a segment with this header, in a prepared file if there is one.
    pub(super) fn begin_segment(
        &self,
        header: SegmentHeader,
        prepared: Option<Arc<dyn DiskFile>>,
    ) -> Result<Active, WriteError> {
        let file = prepared.map_or_else(|| self.prepare(), Ok)?;
        let path = self.dir.join(file_name(header.base_offset));
        let failed = |act| {
            let path = &path;
            move |error| WriteError::new(act, path, true, error)
        };
        file.write_at(0, &header.to_bytes()).map_err(failed("writing"))?;
        file.sync().map_err(failed("syncing"))?;
        self.disk.rename(&self.dir.join(PREPARED), &path).map_err(failed("naming"))?;
        self.disk.sync_dir(&self.dir).map_err(failed("naming"))?;
        let index = Mutex::new(Some(Index::new(&header)));
        let bytes = self.segment_bytes;
        let segment = Arc::new(Segment { path, header, bytes, index });
        Ok(Active { segment, file, position: SEGMENT_HEADER_BYTES as u64 })
    }
}

/// The segment that grows.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next batch goes.
    pub(super) position: u64,
}

/// What the disk did not do.
#[derive(Clone, Debug)]
pub(super) struct WriteError {
    pub(super) error: Arc<io::Error>,
    /// What was tried, and on which file.
    pub(super) act: Arc<str>,
    /// Whether nobody knows any more what the file holds.
    pub(super) poisons: bool,
}

impl WriteError {
    fn new(act: &str, path: &std::path::Path, poisons: bool, error: io::Error) -> Self {
        let act = format!("{act} {}", path.display()).into();
        Self { error: Arc::new(error), act, poisons }
    }

    pub(super) fn to_port_error(&self, kind: ErrorKind, consequence: &str) -> PortError {
        let context = format!("{} failed: {consequence}", self.act);
        PortError::caused(kind, context, self.error.clone())
    }
}

/// See the module.
pub(super) struct Appender {
    pub(super) place: Place,
    pub(super) published: Arc<Published>,
    pub(super) log_epoch: u32,
    pub(super) active: Active,
    pub(super) prepared: Option<Arc<dyn DiskFile>>,
    /// Everything below is durable.
    pub(super) durable_offset: Offset,
    /// Everything below was handed to the disk; nothing at or above was.
    pub(super) attempted_offset: Offset,
    /// The newest append time in the log.
    pub(super) append_time: TimestampMs,
    /// Written but not synced.
    pub(super) unsynced: Vec<Batch<Bytes>>,
}

impl Appender {
    /// Offset of the next record.
    pub(super) fn next_offset(&self) -> Offset {
        self.unsynced.last().map_or(self.durable_offset, Batch::next_offset)
    }

    /// Makes room for a batch of so many bytes: what is written becomes durable, and a new segment
    /// begins, where this one is too full.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), WriteError> {
        if self.active.position + bytes as u64 <= self.active.segment.bytes {
            return Ok(());
        }
        self.sync()?;
        let header = SegmentHeader {
            partition: self.place.partition,
            log_epoch: self.log_epoch,
            base_offset: self.durable_offset,
            previous_base_offset: Some(self.active.segment.header.base_offset),
            append_time: self.append_time,
        };
        let next = self.place.begin_segment(header, self.prepared.take())?;
        self.published.begin_segment(next.segment.clone());
        let sealed = std::mem::replace(&mut self.active, next).segment;
        let index = sealed.index.lock().clone();
        if let Some(index) = index {
            index.save(&*self.place.disk, &sealed.path, &sealed.header);
        }
        Ok(())
    }

    /// Writes a batch for which there is room; `stored` has its payload behind room for the header.
    pub(super) fn put(
        &mut self,
        header: &BatchHeader,
        stored: &mut [u8],
    ) -> Result<(), WriteError> {
        debug_assert_eq!(header.base_offset, self.next_offset());
        debug_assert!(header.append_time >= self.append_time);
        header.seal(stored);
        self.attempted_offset = header.next_offset();
        let Active { segment, file, position } = &mut self.active;
        file.write_at(*position, stored)
            .map_err(|error| WriteError::new("writing", &segment.path, true, error))?;
        if let Some(index) = &mut *segment.index.lock() {
            index.note(header, *position);
        }
        *position += stored.len() as u64;
        self.append_time = header.append_time;
        Ok(())
    }

    /// Makes durable what is written, and lets readers have it.
    pub(super) fn sync(&mut self) -> Result<(), WriteError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let Active { segment, file, .. } = &self.active;
        file.sync().map_err(|error| WriteError::new("syncing", &segment.path, true, error))?;
        self.durable_offset = self.next_offset();
        self.published.publish(self.unsynced.drain(..));
        Ok(())
    }

    /// Makes the next segment's file while there is still room in this one, so that nobody waits
    /// for it. A failure is told when the file is needed.
    pub(super) fn prepare_ahead(&mut self) {
        if self.prepared.is_none() && self.active.position > self.active.segment.bytes / 2 {
            self.prepared = self.place.prepare().ok();
        }
    }
}
