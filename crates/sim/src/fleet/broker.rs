//! A log in memory that never fails, with a clock that never goes back.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use engine::ports::{AppendPart, Appended, EventLog, LogBounds, PartResult, PortError};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::control::Control;
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

/// When every run begins, in ms since 1970.
pub(super) const BEGIN_MS: i64 = 1_795_255_200_000;

/// See the module.
pub(super) struct Broker {
    partitions: Mutex<Vec<Vec<Batch<Bytes>>>>,
    passed_ms: AtomicI64,
    window_minutes: u32,
}

impl Broker {
    pub(super) fn new(partitions: u16, window_minutes: u32) -> Self {
        let passed_ms = AtomicI64::new(0);
        let broker = Self { partitions: Mutex::default(), passed_ms, window_minutes };
        broker.add_until(partitions);
        broker
    }

    pub(super) fn pass(&self, ms: i64) {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> TimestampMs {
        TimestampMs(BEGIN_MS + self.passed_ms.load(Ordering::Relaxed))
    }

    /// The batches of a partition from an offset on.
    pub(super) fn batches(&self, id: PartitionId, from: Offset) -> Vec<Batch<Bytes>> {
        let partitions = self.partitions.lock();
        let batches = &partitions[usize::from(id.0)];
        let first = batches.partition_point(|batch| batch.next_offset() <= from);
        batches[first..].to_vec()
    }

    /// All partitions there are.
    pub(super) fn ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions()).map(PartitionId)
    }

    /// Number of events in the log, repeats counted too.
    pub(super) fn events(&self) -> u64 {
        let partitions = self.partitions.lock();
        let events = partitions.iter().flatten().filter(|batch| !batch.is_control);
        events.map(|batch| u64::from(batch.record_count)).sum()
    }

    fn add_until(&self, count: u16) {
        while self.partitions() < count {
            let id = PartitionId(self.partitions());
            self.partitions.lock().push(Vec::new());
            let dedup_minutes = self.window_minutes;
            let records = Control::Settings { dedup_minutes }.records();
            self.push(AppendPart { partition: id, records, is_control: true });
        }
    }

    fn push(&self, part: AppendPart) -> Appended {
        let AppendPart { partition, records, is_control } = part;
        let append_time = self.now();
        let mut partitions = self.partitions.lock();
        let batches = &mut partitions[usize::from(partition.0)];
        let base_offset = batches.last().map_or(Offset(0), Batch::next_offset);
        batches.push(Batch {
            partition,
            log_epoch: 1,
            base_offset,
            record_count: records.record_count(),
            append_time,
            is_control,
            payload: records.into_payload().into(),
        });
        let next_offset = batches.last().map_or(base_offset, Batch::next_offset);
        Appended { partition, base_offset, next_offset, append_time }
    }
}

impl EventLog for Broker {
    fn partitions(&self) -> u16 {
        self.partitions.lock().len() as u16
    }

    fn grow(&self, partitions: u16) -> Result<(), PortError> {
        self.add_until(partitions);
        Ok(())
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        let results: Vec<PartResult> = parts.into_iter().map(|part| Ok(self.push(part))).collect();
        Ok(futures::future::ready(results).boxed())
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        let batches = self.batches(partition, from);
        async move { Ok(batches) }.boxed()
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        let partitions = self.partitions.lock();
        let batches = &partitions[usize::from(partition.0)];
        let durable_offset = batches.last().map_or(Offset(0), Batch::next_offset);
        LogBounds { log_epoch: 1, start_offset: Offset(0), durable_offset }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(self.now())
    }
}
