//! Follows the log and keeps its events in raw files, which others read and recounts begin with.
//!
//! A thread of its own, which yields to all others: it is behind by the file that is not yet cut.
//! Progress is what the archive holds, so that a crash at any moment costs at most one file's work.

mod course;
mod cut;
mod fill;
mod keep;
mod run;
mod scan;
mod share;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Offset, PartitionId};
use parking_lot::Mutex;

use self::keep::KeepUnarchived;
use self::run::{Progress, Shared};
pub use self::share::Share;
use crate::ports::{ErrorKind, EventLog, PortError, RawArchive};

/// How long stopping waits for a call that an archive far away does not answer.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What users set of the archive.
#[derive(Clone, Copy, Debug)]
pub struct ArchiverSettings {
    /// Files of hours that ended so long ago are removed, in milliseconds of append time.
    pub retention_ms: i64,
    /// Length of the dedup window, in minutes, where neither log nor archive says yet.
    pub dedup_minutes: u32,
}

/// How far the archive of a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// Which partition.
    pub partition: PartitionId,
    /// The first offset that is not archived; 0 until the archive has answered.
    pub archived_offset: Offset,
    /// Durable records that are not archived.
    pub lag: u64,
    /// Whether it stopped on an error that does not go away by itself.
    pub is_stopped: bool,
}

/// What the archiver did since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveTotals {
    /// Files that were written.
    pub files: u64,
    /// Files that were removed because of their age.
    pub removed: u64,
    /// Attempts that failed.
    pub errors: u64,
    /// Offsets that no file has, because a shared log had let go of them before they were archived.
    pub lost: u64,
}

/// Keeps raw events of all partitions.
pub struct Archiver {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Archiver {
    /// Starts the thread for all partitions; it asks the archive itself how far it is, as soon as that
    /// answers.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
    ) -> Result<Self, PortError> {
        Self::start_thread(Shared::new(log.clone(), archive, settings), all_of(log))
    }

    /// As [`Self::start`], but it waits until [`Self::begin_when`] says that it may begin.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start_held(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
    ) -> Result<Self, PortError> {
        let shared = Shared { is_held: true, ..Shared::new(log.clone(), archive, settings) };
        Self::start_thread(shared, all_of(log))
    }

    /// Lets one that is held begin as soon as this is true: whoever counts after a start again what was
    /// not flushed needs the cores first. Looks a few times a second; a second call does nothing.
    pub fn begin_when(&self, may_begin: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.shared.begins_when.set(Box::new(may_begin));
    }

    /// As [`Self::start`], for those partitions of a shared log that `share` says are this process's at a time.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start_share(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
        share: Share,
    ) -> Result<Self, PortError> {
        Self::start_thread(Shared::new(log, archive, settings), Some(share))
    }

    fn start_thread(shared: Shared, share: Option<Share>) -> Result<Self, PortError> {
        let shared = Arc::new(shared);
        let owned = Arc::clone(&shared);
        let run = move || {
            match &share {
                _ if owned.hold() => {}
                None => owned.run(),
                Some(share) => owned.run_share(share),
            }
            *owned.has_ended.lock() = true;
            owned.wake.notify_all();
        };
        let thread =
            std::thread::Builder::new().name("archive".into()).spawn(run).map_err(|error| {
                let context = "the archive's thread cannot be started";
                PortError::caused(ErrorKind::Unavailable, context, error)
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// A log that lets go only of what is archived.
    pub fn keep_unarchived(&self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        Arc::new(KeepUnarchived::new(log, Arc::clone(&self.shared.progress)))
    }

    /// How far each partition is that this process archives.
    pub fn status(&self) -> Vec<ArchiveStatus> {
        let Shared { log, progress, .. } = &*self.shared;
        let status = |(id, progress): (u16, &Progress)| {
            let partition = PartitionId(id);
            let archived_offset = Offset(progress.archived.load(Ordering::Relaxed));
            ArchiveStatus {
                partition,
                archived_offset,
                lag: log.bounds(partition).durable_offset.0.saturating_sub(archived_offset.0),
                is_stopped: progress.is_stopped.load(Ordering::Relaxed),
            }
        };
        let mine = (0..).zip(progress.iter()).filter(|(_, progress)| progress.is_mine());
        mine.map(status).collect()
    }

    /// What was done since the process started.
    pub fn totals(&self) -> ArchiveTotals {
        ArchiveTotals {
            files: self.shared.files.load(Ordering::Relaxed),
            removed: self.shared.removed.load(Ordering::Relaxed),
            errors: self.shared.errors.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Asks the thread to end; the file that it is writing will not be there.
    pub fn ask_to_stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        // Whoever is about to wait holds the lock, and so is told.
        drop(self.shared.has_ended.lock());
        self.shared.wake.notify_all();
    }

    /// Ends the thread. One that waits for an archive that does not answer is left behind after a
    /// moment: whatever it does then, its file is whole or not there.
    pub fn stop(&self) {
        self.ask_to_stop();
        let until = Instant::now() + STOP_WAIT;
        let mut has_ended = self.shared.has_ended.lock();
        while !*has_ended {
            if self.shared.wake.wait_until(&mut has_ended, until).timed_out() {
                tracing::warn!("the archive does not answer; stopping without waiting for it");
                return;
            }
        }
        drop(has_ended);
        if let Some(thread) = self.thread.lock().take() {
            // It has said that it ended; a panic was printed.
            let _ = thread.join();
        }
    }
}

/// Of a log that processors share, all of it.
fn all_of(log: Arc<dyn EventLog>) -> Option<Share> {
    let is_shared = log.is_shared();
    let share = || Box::new(move || (0..log.partitions()).map(PartitionId).collect()) as Share;
    is_shared.then(share)
}

impl Drop for Archiver {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

#[cfg(test)]
mod tests;
