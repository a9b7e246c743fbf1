//! The archive of a log that several processors count.

use std::sync::Arc;

use adapters::archive::{ColdFiles, Objects, RawFiles};
use engine::archiver::{Archiver, ArchiverSettings};
use engine::cold::ColdDays;
use engine::ports::{ColdCounters, CounterStore, EventLog};
use engine::processor::Group;
use model::PartitionId;

use super::{ARCHIVE_RESERVE_BYTES, archive_owner, claim_archive, open_objects};
use crate::config::Resolved;
use crate::threads::Duty;

/// Whoever has this partition moves days to the archive.
const LEADING: PartitionId = PartitionId(0);

/// What a processor archives.
pub(super) struct ClusterArchive {
    pub(super) archiver: Arc<Archiver>,
    cold_days: ColdDays,
}

/// Where the objects of an archive lie; none where processes share the counter store, so that not one of them
/// has its counters to itself in its data folder, and nothing is said of a place that they share as well.
pub(super) fn shared_objects(
    settings: &Resolved,
    is_alone: bool,
) -> anyhow::Result<Option<Objects>> {
    if !is_alone && settings.is_archive_in_data_dir() {
        tracing::warn!(
            "raw events are not archived and old days stay in the counter store: processes that share a \
             store share an archive too, named by the setting `archive`, as in --archive s3://bucket"
        );
        return Ok(None);
    }
    open_objects(settings)
}

/// The files of cold days, read only: whoever writes them is another process.
pub(super) fn cold_reader(objects: Objects) -> Arc<dyn ColdCounters> {
    Arc::new(ColdFiles::reading(objects))
}

impl ClusterArchive {
    /// Archives what the group has, and moves old days while it has the first partition. `identity` tells
    /// the log from all others.
    ///
    /// # Errors
    /// Where the archive is another's.
    pub(super) fn start(
        settings: &Resolved,
        objects: Objects,
        (log, identity): (Arc<dyn EventLog>, &str),
        (store, is_alone): (Arc<dyn CounterStore>, bool),
        group: Arc<Group>,
    ) -> anyhow::Result<Self> {
        let owner = match is_alone {
            true => archive_owner(&settings.data_dir)?,
            false => identity.to_owned(),
        };
        let raw = RawFiles::new(objects.clone(), &owner, ARCHIVE_RESERVE_BYTES);
        let cold = match is_alone {
            true => ColdFiles::new(objects.clone(), &owner, ARCHIVE_RESERVE_BYTES),
            false => {
                ColdFiles::sharing(objects.clone(), &owner, ARCHIVE_RESERVE_BYTES, rand::random())
            }
        };
        claim_archive(&raw, &cold)?;
        if is_alone {
            objects.remove_leftovers()?;
        }
        let archiver_settings = ArchiverSettings {
            retention_ms: settings.raw_retention_ms,
            dedup_minutes: settings.dedup_minutes,
        };
        let (archived, leading) = (group.clone(), group);
        let share = Box::new(move || archived.partitions());
        let archiver = Duty::Merge
            .call(|| Archiver::start_share(log.clone(), Arc::new(raw), archiver_settings, share))?;
        let is_mine = Box::new(move || leading.partitions().contains(&LEADING));
        let cold_days =
            Duty::Merge.call(|| ColdDays::start_while(store, Arc::new(cold), log, is_mine))?;
        Ok(Self { archiver: Arc::new(archiver), cold_days })
    }

    /// Asks the threads to end; what is being written will not be there.
    pub(super) fn ask_to_stop(&self) {
        self.archiver.ask_to_stop();
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        self.archiver.stop();
        self.cold_days.stop();
    }
}
