//! A log that lets go only of what is archived.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::{Batch, Offset, PartitionId, TimestampMs};

use super::Progress;
use crate::ports::{AppendPart, EventLog, LogBounds, PartResult, PortError};

/// See the module.
pub(super) struct KeepUnarchived {
    log: Arc<dyn EventLog>,
    progress: Arc<Vec<Progress>>,
}

impl KeepUnarchived {
    pub(super) fn new(log: Arc<dyn EventLog>, progress: Arc<Vec<Progress>>) -> Self {
        Self { log, progress }
    }
}

impl EventLog for KeepUnarchived {
    fn partitions(&self) -> u16 {
        self.log.partitions()
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
        let archived = &self.progress[usize::from(partition.0)].archived;
        let archived = Offset(archived.load(Ordering::Relaxed));
        self.log.trim(partition, before.min(archived))
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        self.log.append_time()
    }
}
