//! One partition on its way into the archive.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::{Hour, Offset, PartitionId};

use super::ArchiverSettings;
use super::cut::{FILE_OFFSETS, hour_at, next_cut};
use super::fill::fill;
use super::run::Backoff;
use super::scan::Scan;
use crate::ports::{ErrorKind, EventLog, PortError, RawArchive, RawFile, RawSink};

/// Work between two offers of the core to whoever waits for it.
const STRETCH: Duration = Duration::from_micros(50);
/// Whoever takes the core keeps it for longer than this; it comes back at once from nobody.
const WANTED: Duration = Duration::from_micros(20);
/// How long the archive leaves the cores to those who want them.
const REST: Duration = Duration::from_millis(1);
/// While so many whole files of a partition wait, the archive takes its share of the cores in any case.
const FILES_DEFERRED: u64 = 4;

/// Where a partition goes on, and what is in force there.
pub(super) struct Course {
    id: PartitionId,
    next: Offset,
    window_minutes: u32,
    /// The append hour of the record at `next`, once it is there and was looked at.
    hour: Option<Hour>,
    /// The hour of the file before: in a shared log a record's hour is never before that.
    floor: Hour,
    /// What was looked through from `next` on, in a shared log.
    scan: Option<Scan>,
    /// The file whose writing failed: the archive may have it all the same, and then its end must
    /// not be another.
    pending: Option<RawFile>,
    /// When it goes on after a failure.
    pub(super) retry: Backoff,
}

impl Course {
    /// Goes on after the newest file, or begins at the start of the log.
    ///
    /// # Errors
    /// `Conflict` where the archive is ahead of the log; of a shared one, whose end this process may hear of
    /// late, `Unavailable`.
    pub(super) fn resume(
        log: &dyn EventLog,
        archive: &dyn RawArchive,
        id: PartitionId,
        newest: Option<RawFile>,
        settings: &ArchiverSettings,
    ) -> Result<Self, PortError> {
        let bounds = log.bounds(id);
        let start = Self {
            id,
            next: bounds.start_offset,
            window_minutes: settings.dedup_minutes,
            hour: None,
            floor: newest.map_or(Hour(0), |newest| newest.hour),
            scan: None,
            pending: None,
            retry: Backoff::default(),
        };
        let Some(newest) = newest else { return Ok(start) };
        if newest.to > bounds.durable_offset {
            let context = format!(
                "the archive has partition {id} up to offset {}, but the log ends at {}: it is not \
                 the log that was archived; give it another archive, or remove those files",
                newest.to, bounds.durable_offset
            );
            let kind = if log.is_shared() { ErrorKind::Unavailable } else { ErrorKind::Conflict };
            return Err(PortError::new(kind, context));
        }
        if newest.to < bounds.start_offset {
            tracing::warn!(
                partition = id.0,
                from = newest.to.0,
                to = bounds.start_offset.0,
                "the archive lacks events that the log no longer has"
            );
            return Ok(start);
        }
        let window_minutes = archive.next_window_minutes(newest)?;
        Ok(Self { next: newest.to, window_minutes, ..start })
    }

    pub(super) fn id(&self) -> PartitionId {
        self.id
    }

    /// The first offset that is not archived.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Whether the log has let go of what comes next.
    pub(super) fn is_behind(&self, log: &dyn EventLog) -> bool {
        log.bounds(self.id).start_offset > self.next
    }

    /// Writes the next file where its end is known.
    pub(super) fn archive_next(
        &mut self,
        log: &dyn EventLog,
        archive: &dyn RawArchive,
        is_stopping: &AtomicBool,
    ) -> Result<Option<RawFile>, PortError> {
        let Some(file) = self.next_file(log, is_stopping)? else { return Ok(None) };
        self.pending = Some(file);
        let mut next_window_minutes = self.window_minutes;
        let offered = Cell::new(Instant::now());
        let pause = || {
            if offered.get().elapsed() >= STRETCH {
                self.offer_the_core(log, file, is_stopping);
                offered.set(Instant::now());
            }
        };
        let mut fill = |sink: &mut RawSink<'_>| {
            let head = fill(log, file, self.window_minutes, is_stopping, &pause, sink)?;
            next_window_minutes = head.next_window_minutes;
            Ok(head)
        };
        archive.write_raw(file, &pause, &mut fill)?;
        self.window_minutes = next_window_minutes;
        self.next = file.to;
        self.hour = None;
        self.floor = file.hour;
        self.scan = None;
        self.pending = None;
        Ok(Some(file))
    }

    /// Who answers may wait for this core, and the kernel looks only every few milliseconds. And where
    /// the cores are wanted all the time, the archive, a quarter of all that is done with an event, waits for
    /// a quieter moment; but not for longer than until some files wait.
    fn offer_the_core(&self, log: &dyn EventLog, file: RawFile, is_stopping: &AtomicBool) {
        let waiting = log.bounds(self.id).durable_offset.0.saturating_sub(file.to.0);
        if waiting >= FILES_DEFERRED * FILE_OFFSETS || is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let offered = Instant::now();
        std::thread::yield_now();
        if offered.elapsed() > WANTED {
            std::thread::sleep(REST);
        }
    }

    fn next_file(
        &mut self,
        log: &dyn EventLog,
        is_stopping: &AtomicBool,
    ) -> Result<Option<RawFile>, PortError> {
        if self.pending.is_some() {
            return Ok(self.pending);
        }
        if self.next >= log.bounds(self.id).durable_offset {
            return Ok(None);
        }
        if log.is_shared() {
            let scan = self.scan.get_or_insert_with(|| Scan::new(self.id, self.next, self.floor));
            return scan.next_cut(log, is_stopping);
        }
        let hour = match self.hour {
            Some(hour) => hour,
            None => *self.hour.insert(hour_at(log, self.id, self.next)?),
        };
        next_cut(log, self.id, self.next, hour)
    }
}
