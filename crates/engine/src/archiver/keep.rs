//! A log that lets go only of what is archived.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::{Batch, Offset, PartitionId, TimestampMs};

use super::Progress;
use crate::growing::Growing;
use crate::ports::{AppendPart, EventLog, LogBounds, PartResult, PortError};

/// See the module.
pub(super) struct KeepUnarchived {
    log: Arc<dyn EventLog>,
    progress: Arc<Growing<Progress>>,
}

impl KeepUnarchived {
    pub(super) fn new(log: Arc<dyn EventLog>, progress: Arc<Growing<Progress>>) -> Self {
        Self { log, progress }
    }
}

impl EventLog for KeepUnarchived {
    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        self.log.grow(partitions)
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        self.log.append(parts)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        self.log.read(partition, from, bytes_max)
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        self.log.bounds(partition)
    }

    fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), PortError> {
        // One that the archiver has not heard of yet has nothing archived.
        let progress = self.progress.get(usize::from(partition.0));
        let archived = progress.map_or(0, |progress| progress.archived.load(Ordering::Relaxed));
        let archived = Offset(archived);
        self.log.trim(partition, before.min(archived))
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        self.log.append_time()
    }

    fn is_shared(&self) -> bool {
        self.log.is_shared()
    }
}
