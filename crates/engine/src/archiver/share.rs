//! The partitions of a shared log that this process archives: those that it counts, while it counts them.
//!
//! They come and go. One that comes is asked for in the archive, where others may have gone on; one that goes
//! is let go of, wherever it is. Both may be too late, as for a process that stood still: what it writes then is
//! what the one after it writes too, see [`super::scan`].

use std::sync::atomic::Ordering;

use model::{Hour, PartitionId, TimestampMs};

use super::course::Course;
use super::run::{Backoff, LOOK, Progress, Shared, is_temporary, stopping};
use crate::ports::{PortError, RawFile};

/// Says which partitions are this process's now.
pub type Share = Box<dyn Fn() -> Vec<PartitionId> + Send + Sync>;

impl Shared {
    /// Lets go of partitions that others have now, and begins with new ones.
    ///
    /// # Errors
    /// Where the archive does not say how far the new ones are; a repeat asks again.
    pub(super) fn follow_share(
        &self,
        share: &Share,
        courses: &mut Vec<Course>,
    ) -> Result<(), PortError> {
        let mine = share();
        for id in (0..self.log.partitions()).map(PartitionId) {
            let Some(progress) = self.progress.get(usize::from(id.0)) else { continue };
            if !mine.contains(&id) {
                // Whatever stopped it is for the next owner to find out.
                progress.is_stopped.store(false, Ordering::Relaxed);
                progress.is_mine.store(false, Ordering::Relaxed);
            }
        }
        courses.retain(|course| mine.contains(&course.id()));
        let is_new = |id: &PartitionId| {
            let progress = self.progress.get(usize::from(id.0));
            let has_stopped =
                progress.is_none_or(|progress| progress.is_stopped.load(Ordering::Relaxed));
            !has_stopped && courses.iter().all(|course| course.id() != *id)
        };
        let new: Vec<PartitionId> = mine.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let newest = self.newest_of(&new)?;
        for (id, newest) in new.into_iter().zip(newest) {
            let course = Course::resume(&*self.log, &*self.archive, id, newest, &self.settings);
            match course {
                Ok(course) => {
                    // An archive that was begun after the log lacks nothing.
                    let archived = newest.map_or(course.next(), |newest| newest.to);
                    let lost = course.next().0.saturating_sub(archived.0);
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                    let progress = self.progress(id);
                    progress.archived.store(course.next().0, Ordering::Relaxed);
                    progress.is_mine.store(true, Ordering::Relaxed);
                    courses.push(course);
                }
                Err(error) if is_temporary(&error) => return Err(error),
                Err(error) => self.give_up(id, &error),
            }
        }
        Ok(())
    }

    /// The newest file of each of some partitions.
    fn newest_of(&self, wanted: &[PartitionId]) -> Result<Vec<Option<RawFile>>, PortError> {
        let mut newest: Vec<Option<RawFile>> = vec![None; wanted.len()];
        self.archive.list_raw(Hour(0)..Hour(u32::MAX), &mut |file| {
            if self.is_stopping() {
                return Err(stopping());
            }
            if let Some(at) = wanted.iter().position(|id| *id == file.partition)
                && newest[at].is_none_or(|known| known.to < file.to)
            {
                newest[at] = Some(file);
            }
            Ok(())
        })?;
        Ok(newest)
    }

    /// The thread, where partitions come and go.
    pub(super) fn run_share(&self, share: &Share) {
        let (mut courses, mut retry) = (Vec::new(), Backoff::default());
        let mut purge_at = TimestampMs(i64::MIN);
        while !self.is_stopping() {
            if !retry.is_waiting() {
                match self.follow_share(share, &mut courses) {
                    Ok(()) => retry = Backoff::default(),
                    Err(_) if self.is_stopping() => return,
                    Err(error) => {
                        self.tell(None, &error);
                        retry.failed();
                    }
                }
            }
            let has_written = self.archive_round(&mut courses);
            self.purge_when_due(&courses, &mut purge_at);
            if !has_written && self.wait(LOOK) {
                return;
            }
        }
    }
}

impl Progress {
    /// Whether this process archives the partition.
    pub(super) fn is_mine(&self) -> bool {
        self.is_mine.load(Ordering::Relaxed)
    }
}
