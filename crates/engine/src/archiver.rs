//! Follows the log and keeps its events in raw files, which others read and recounts begin with.
//!
//! A thread of its own, which yields to all others: it is behind by the file that is not yet cut.
//! Progress is what the archive holds, so that a crash at any moment costs at most one file's work.

mod course;
mod cut;
mod fill;
mod keep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::bucket::{HOUR_MS, MINUTE_MS};
use model::{Hour, Offset, PartitionId, TimestampMs};
use parking_lot::{Condvar, Mutex};

use self::course::Course;
use self::keep::KeepUnarchived;
use crate::ports::{ErrorKind, EventLog, PortError, RawArchive, RawFile};

/// Between two looks at the end of the log.
const LOOK: Duration = Duration::from_secs(1);
/// Before something that failed is tried again, doubled each time up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two looks for files to remove, in milliseconds of append time.
const PURGE_MS: i64 = 10 * MINUTE_MS;
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
}

/// Keeps raw events of all partitions.
pub struct Archiver {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread shares with those who look at it.
struct Shared {
    log: Arc<dyn EventLog>,
    archive: Arc<dyn RawArchive>,
    settings: ArchiverSettings,
    progress: Arc<Vec<Progress>>,
    files: AtomicU64,
    removed: AtomicU64,
    errors: AtomicU64,
    is_stopping: AtomicBool,
    has_ended: Mutex<bool>,
    wake: Condvar,
}

/// How far a partition is, for others to read.
#[derive(Default)]
struct Progress {
    archived: AtomicU64,
    is_stopped: AtomicBool,
}

impl Archiver {
    /// Starts the thread; it asks the archive itself how far it is, as soon as that answers.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
    ) -> Result<Self, PortError> {
        let shared = Arc::new(Shared::new(log, archive, settings));
        let owned = Arc::clone(&shared);
        let run = move || {
            owned.run();
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

    /// How far each partition is.
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
        (0..).zip(progress.iter()).map(status).collect()
    }

    /// What was done since the process started.
    pub fn totals(&self) -> ArchiveTotals {
        ArchiveTotals {
            files: self.shared.files.load(Ordering::Relaxed),
            removed: self.shared.removed.load(Ordering::Relaxed),
            errors: self.shared.errors.load(Ordering::Relaxed),
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

impl Drop for Archiver {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

impl Shared {
    fn new(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
    ) -> Self {
        let progress = (0..log.partitions()).map(|_| Progress::default()).collect();
        Self {
            log,
            archive,
            settings,
            progress: Arc::new(progress),
            files: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            has_ended: Mutex::new(false),
            wake: Condvar::new(),
        }
    }

    /// The thread.
    fn run(&self) {
        let mut retry = RETRY.0;
        let mut courses = loop {
            match self.recover() {
                Ok(courses) => break courses,
                Err(error) => {
                    self.tell(None, &error);
                    if !is_temporary(&error) {
                        self.progress.iter().for_each(Progress::stop);
                        return;
                    }
                    if self.wait(retry) {
                        return;
                    }
                    retry = (2 * retry).min(RETRY.1);
                }
            }
        };
        let mut purge_at = TimestampMs(i64::MIN);
        retry = RETRY.0;
        while !self.is_stopping() {
            let round = self.archive_round(&mut courses);
            let purged = self.purge_when_due(&courses, &mut purge_at);
            let pause = match (round, purged) {
                (Ok(true), Ok(())) => continue,
                (Ok(false), Ok(())) => {
                    retry = RETRY.0;
                    LOOK
                }
                _ => {
                    let pause = retry;
                    retry = (2 * retry).min(RETRY.1);
                    pause
                }
            };
            if self.wait(pause) {
                return;
            }
        }
    }

    /// Finds out where each partition goes on.
    fn recover(&self) -> Result<Vec<Course>, PortError> {
        let mut newest: Vec<Option<RawFile>> = vec![None; self.progress.len()];
        self.archive.list_raw(Hour(0)..Hour(u32::MAX), &mut |file| {
            if self.is_stopping() {
                return Err(stopping());
            }
            // What is beyond the log's partitions cannot be of this log; its owner was checked.
            if let Some(known) = newest.get_mut(usize::from(file.partition.0))
                && known.is_none_or(|known| known.to < file.to)
            {
                *known = Some(file);
            }
            Ok(())
        })?;
        let mut courses = Vec::with_capacity(newest.len());
        for (id, newest) in (0..).zip(newest) {
            let id = PartitionId(id);
            let course = Course::resume(&*self.log, &*self.archive, id, newest, &self.settings);
            match course {
                Ok(course) => {
                    self.progress(id).archived.store(course.next().0, Ordering::Relaxed);
                    courses.push(course);
                }
                Err(error) if is_temporary(&error) => return Err(error),
                Err(error) => self.give_up(id, &error),
            }
        }
        Ok(courses)
    }

    /// Writes the next file of each partition that has one; whether any had.
    fn archive_round(&self, courses: &mut Vec<Course>) -> Result<bool, ()> {
        let (mut has_written, mut has_failed) = (false, false);
        courses.retain_mut(|course| {
            if self.is_stopping() {
                return true;
            }
            match course.archive_next(&*self.log, &*self.archive, &self.is_stopping) {
                Ok(None) => true,
                Ok(Some(_)) => {
                    let progress = self.progress(course.id());
                    progress.archived.store(course.next().0, Ordering::Relaxed);
                    self.files.fetch_add(1, Ordering::Relaxed);
                    has_written = true;
                    true
                }
                Err(_) if self.is_stopping() => true,
                Err(error) if is_temporary(&error) => {
                    self.tell(Some(course.id()), &error);
                    has_failed = true;
                    true
                }
                Err(error) => {
                    self.give_up(course.id(), &error);
                    false
                }
            }
        });
        if has_failed { Err(()) } else { Ok(has_written) }
    }

    /// Removes files whose hour ended long ago by the log's clock. The newest of each partition
    /// stays: it says where to go on.
    fn purge_when_due(&self, courses: &[Course], due: &mut TimestampMs) -> Result<(), ()> {
        let Ok(now) = self.log.append_time() else { return Ok(()) };
        if now < *due || self.is_stopping() {
            return Ok(());
        }
        let oldest = now.0.saturating_sub(self.settings.retention_ms).div_euclid(HOUR_MS);
        let oldest = Hour(u32::try_from(oldest).unwrap_or(0));
        let purged = self.archive.list_raw(Hour(0)..oldest, &mut |file| {
            if self.is_stopping() {
                return Err(stopping());
            }
            let course = courses.iter().find(|course| course.id() == file.partition);
            if course.is_some_and(|course| file.to < course.next()) {
                self.archive.remove_raw(file)?;
                self.removed.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        match purged {
            Ok(()) => {
                *due = TimestampMs(now.0 + PURGE_MS);
                Ok(())
            }
            Err(_) if self.is_stopping() => Ok(()),
            Err(error) => {
                self.tell(None, &error);
                // An error that stays is told now and then, and keeps nobody from archiving.
                if !is_temporary(&error) {
                    *due = TimestampMs(now.0 + PURGE_MS);
                }
                Err(())
            }
        }
    }

    fn progress(&self, id: PartitionId) -> &Progress {
        &self.progress[usize::from(id.0)]
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Waits; true when the thread is to end.
    fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut has_ended = self.has_ended.lock();
        while !self.is_stopping() {
            if self.wake.wait_until(&mut has_ended, until).timed_out() {
                return self.is_stopping();
            }
        }
        true
    }

    fn tell(&self, partition: Option<PartitionId>, error: &PortError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            partition = partition.map(|id| id.0),
            error = error as &dyn std::error::Error,
            cause = error.source.as_deref().map(|cause| cause as &dyn std::error::Error),
            "raw events cannot be archived now; the log keeps them"
        );
    }

    fn give_up(&self, id: PartitionId, error: &PortError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.progress(id).stop();
        tracing::error!(
            partition = id.0,
            error = error as &dyn std::error::Error,
            cause = error.source.as_deref().map(|cause| cause as &dyn std::error::Error),
            "raw events of the partition are no longer archived; the log keeps them, and grows"
        );
    }
}

impl Progress {
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Whether trying again later may help.
fn is_temporary(error: &PortError) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded)
}

fn stopping() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the archive is stopping")
}

#[cfg(test)]
mod tests;
