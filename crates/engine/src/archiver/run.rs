//! The archive's thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use model::bucket::{HOUR_MS, MINUTE_MS};
use model::{Hour, PartitionId, TimestampMs};
use parking_lot::{Condvar, Mutex};

use super::ArchiverSettings;
use super::course::Course;
use crate::growing::Growing;
use crate::ports::{ErrorKind, EventLog, PortError, RawArchive, RawFile};

/// Between two looks at the end of the log.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// Between two looks whether it may begin.
const HOLD: Duration = Duration::from_millis(100);
/// Before something that failed is tried again, doubled each time up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Between two looks for files to remove, in milliseconds of append time.
const PURGE_MS: i64 = 10 * MINUTE_MS;
/// The same after a failure.
const PURGE_RETRY_MS: i64 = MINUTE_MS;

/// What the thread shares with those who look at it.
pub(super) struct Shared {
    pub(super) log: Arc<dyn EventLog>,
    pub(super) archive: Arc<dyn RawArchive>,
    pub(super) settings: ArchiverSettings,
    pub(super) progress: Arc<Growing<Progress>>,
    pub(super) files: AtomicU64,
    pub(super) removed: AtomicU64,
    pub(super) errors: AtomicU64,
    /// Offsets missing between files, as the log had let go of them.
    pub(super) lost: AtomicU64,
    pub(super) is_stopping: AtomicBool,
    pub(super) has_ended: Mutex<bool>,
    pub(super) wake: Condvar,
    /// Whether it waits until it may begin.
    pub(super) is_held: bool,
    pub(super) begins_when: OnceLock<BeginsWhen>,
}

/// Says whether it may begin by now.
pub(super) type BeginsWhen = Box<dyn Fn() -> bool + Send + Sync>;

/// How far a partition is, for others to read.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) archived: AtomicU64,
    pub(super) is_stopped: AtomicBool,
    pub(super) is_mine: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        archive: Arc<dyn RawArchive>,
        settings: ArchiverSettings,
    ) -> Self {
        // Of a shared log each partition is somebody else's at first.
        let is_mine = !log.is_shared();
        let of = |_| Progress { is_mine: AtomicBool::new(is_mine), ..Progress::default() };
        let progress = Growing::of_partitions((0..log.partitions()).map(of));
        Self {
            log,
            archive,
            settings,
            progress: Arc::new(progress),
            files: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            has_ended: Mutex::new(false),
            wake: Condvar::new(),
            is_held: false,
            begins_when: OnceLock::new(),
        }
    }

    /// Waits while it is held; whether it is to stop instead.
    pub(super) fn hold(&self) -> bool {
        let may_begin = || self.begins_when.get().is_some_and(|may_begin| may_begin());
        while self.is_held && !may_begin() {
            if self.wait(HOLD) {
                return true;
            }
        }
        false
    }

    /// The thread.
    pub(super) fn run(&self) {
        let mut retry = Backoff::default();
        let mut courses = loop {
            match self.recover() {
                Ok(courses) => break courses,
                Err(error) => {
                    self.tell(None, &error);
                    if !is_temporary(&error) {
                        self.progress.iter().for_each(Progress::stop);
                        return;
                    }
                    retry.failed();
                    if self.wait(retry.pause) {
                        return;
                    }
                }
            }
        };
        let mut purge_at = TimestampMs(i64::MIN);
        while !self.is_stopping() {
            self.take_up_added(&mut courses);
            let has_written = self.archive_round(&mut courses);
            self.purge_when_due(&courses, &mut purge_at);
            if !has_written && self.wait(LOOK) {
                return;
            }
        }
    }

    /// Finds out where each partition goes on.
    pub(super) fn recover(&self) -> Result<Vec<Course>, PortError> {
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

    /// Begins with partitions that the log has been given since: nothing of them is archived.
    pub(super) fn take_up_added(&self, courses: &mut Vec<Course>) {
        for id in self.progress.len() as u16..self.log.partitions() {
            // There is room for every partition there may be.
            let added = Progress { is_mine: AtomicBool::new(true), ..Progress::default() };
            let _ = self.progress.push(added);
            let id = PartitionId(id);
            match Course::resume(&*self.log, &*self.archive, id, None, &self.settings) {
                Ok(course) => courses.push(course),
                Err(error) => self.give_up(id, &error),
            }
        }
    }

    /// Writes the next file of each partition that has one; whether any had. A partition that
    /// fails waits, and keeps no other from going on.
    pub(super) fn archive_round(&self, courses: &mut Vec<Course>) -> bool {
        let mut has_written = false;
        courses.retain_mut(|course| {
            if self.is_stopping() || course.retry.is_waiting() {
                return true;
            }
            // Of a shared log only, as any other keeps what is not archived: begun anew behind the gap.
            if course.is_behind(&*self.log) {
                return false;
            }
            match course.archive_next(&*self.log, &*self.archive, &self.is_stopping) {
                Ok(None) => true,
                Ok(Some(_)) => {
                    let progress = self.progress(course.id());
                    progress.archived.store(course.next().0, Ordering::Relaxed);
                    self.files.fetch_add(1, Ordering::Relaxed);
                    course.retry = Backoff::default();
                    has_written = true;
                    true
                }
                Err(_) if self.is_stopping() => true,
                Err(error) if is_temporary(&error) => {
                    self.tell(Some(course.id()), &error);
                    course.retry.failed();
                    true
                }
                Err(error) => {
                    self.give_up(course.id(), &error);
                    false
                }
            }
        });
        has_written
    }

    /// Removes files whose hour ended long ago by the log's clock. The newest of each partition
    /// stays: it says where to go on.
    pub(super) fn purge_when_due(&self, courses: &[Course], due: &mut TimestampMs) {
        let Ok(now) = self.log.append_time() else { return };
        if now < *due || self.is_stopping() {
            return;
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
        *due = TimestampMs(now.0 + if purged.is_ok() { PURGE_MS } else { PURGE_RETRY_MS });
        match purged {
            Err(error) if !self.is_stopping() => self.tell(None, &error),
            _ => {}
        }
    }

    pub(super) fn progress(&self, id: PartitionId) -> &Progress {
        &self.progress[usize::from(id.0)]
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Waits; true when the thread is to end.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut has_ended = self.has_ended.lock();
        while !self.is_stopping() {
            if self.wake.wait_until(&mut has_ended, until).timed_out() {
                return self.is_stopping();
            }
        }
        true
    }

    pub(super) fn tell(&self, partition: Option<PartitionId>, error: &PortError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            partition = partition.map(|id| id.0),
            error = error as &dyn std::error::Error,
            "raw events cannot be archived now; the log keeps them"
        );
    }

    pub(super) fn give_up(&self, id: PartitionId, error: &PortError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.progress(id).stop();
        tracing::error!(
            partition = id.0,
            error = error as &dyn std::error::Error,
            "raw events of the partition are no longer archived; the log keeps them, and grows"
        );
    }
}

/// When something that failed is tried again.
#[derive(Default)]
pub(super) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) fn failed(&mut self) {
        self.pause = (2 * self.pause).clamp(RETRY.0, RETRY.1);
        self.until = Some(Instant::now() + self.pause);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

impl Progress {
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// Whether trying again later may help.
pub(super) fn is_temporary(error: &PortError) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded)
}

pub(super) fn stopping() -> PortError {
    PortError::new(ErrorKind::Unavailable, "the archive is stopping")
}
