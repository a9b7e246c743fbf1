//! The parts that events go through, without threads, on a disk that forgets.

use std::path::Path;
use std::sync::Arc;

use adapters::archive::{Objects, RawFiles};
use adapters::embedded::disk::RealDisk;
use adapters::embedded::log::{EmbeddedLog, LogSettings};
use adapters::embedded::store::{EmbeddedStore, StoreSettings};
use bytes::Bytes;
use engine::admission::Admission;
use engine::gateway::Gateway;
use engine::ports::{
    AppendPart, Clock, EventLog, LogBounds, PartResult, PortError, RawArchive, RawEvent, RawFile,
    RawHead,
};
use engine::processor::{ProcessorSettings, Stepped};
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::record::{Record, split};
use model::{Batch, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::bodies::{NOW, ndjson};
use crate::read::{self, IdSource, Intake};

const ONE: PartitionId = PartitionId(0);
/// Old enough for no event.
const AGE_MS: i64 = 7 * 86_400_000;

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> ClockReading {
        ClockReading { wall: NOW, monotonic_ms: 0 }
    }
}

/// Keeps what is appended.
#[derive(Default)]
struct Nowhere(Mutex<Vec<AppendPart>>);

impl EventLog for Nowhere {
    fn partitions(&self) -> u16 {
        1
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        self.0.lock().extend(parts);
        Ok(futures::future::ready(Vec::new()).boxed())
    }

    fn read(
        &self,
        _: PartitionId,
        _: Offset,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        futures::future::pending().boxed()
    }

    fn bounds(&self, _: PartitionId) -> LogBounds {
        LogBounds { log_epoch: 1, start_offset: Offset(0), durable_offset: Offset(0) }
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(NOW)
    }
}

fn gateway(log: Arc<Nowhere>) -> Gateway {
    let admission = Arc::new(Admission::new(1, 1 << 30));
    Gateway::new(log, Arc::new(StillClock), admission, AGE_MS)
}

/// A gateway for as long as the program runs.
pub(crate) fn gateway_to_nowhere() -> &'static Gateway {
    Box::leak(Box::new(gateway(Arc::default())))
}

/// A log of one partition, what counts it, and an archive.
pub(crate) struct Pipeline {
    log: Arc<EmbeddedLog>,
    stepped: Stepped,
    archive: RawFiles,
    _folder: TempDir,
}

impl Pipeline {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let dir = |name: &str| folder.path().join(name);
        let clock: Arc<dyn Clock> = Arc::new(StillClock);
        let settings = LogSettings::new(1);
        let disk = Arc::new(RealDisk);
        let log = EmbeddedLog::open_stepped(disk, &dir("log"), &settings, clock.clone(), &[]);
        let log = Arc::new(log.expect("a log"));
        let store = EmbeddedStore::open(&dir("store"), StoreSettings::default()).expect("a store");
        let settings = ProcessorSettings {
            flush_interval_ms: 1_000,
            table_cells_max: usize::MAX,
            known_bytes_max: 64 << 20,
            hash_keys: (1, 2),
            dedup_minutes: 60,
        };
        let admission = Arc::new(Admission::new(1, 1 << 40));
        let stepped = Stepped::open(log.clone(), Arc::new(store), clock, admission, settings);
        let objects = Objects::open(&Path::new(&dir("archive")).into()).expect("a folder");
        let archive = RawFiles::new(objects, "owner", 0);
        Self { log, stepped: stepped.expect("it counts"), archive, _folder: folder }
    }

    /// With so many requests in the log.
    pub(crate) fn filled(rounds: usize) -> Self {
        let pipeline = Self::new();
        pipeline.append(pipeline.parts(rounds));
        pipeline
    }

    /// So many requests, as they go to the log.
    pub(crate) fn parts(&self, rounds: usize) -> Vec<AppendPart> {
        let log = Arc::new(Nowhere::default());
        let gateway = gateway(log.clone());
        for round in 0..rounds {
            let mut batch = gateway.begin().expect("events are accepted");
            let mut intake = Intake::new(&mut batch, IdSource::random());
            read::ndjson::read(&ndjson(round), &mut intake).expect("the body is fine");
            drop(intake.finish());
            drop(batch.commit().now_or_never());
        }
        std::mem::take(&mut log.0.lock())
    }

    /// Writes them, one request in each group.
    pub(crate) fn append(&self, parts: Vec<AppendPart>) {
        for part in parts {
            let answer = self.log.append(vec![part]).expect("there is room");
            assert!(self.log.step(ONE), "it is written");
            assert!(block_on(answer).iter().all(Result::is_ok), "it is acknowledged");
        }
    }

    /// All that was appended and is not counted.
    pub(crate) fn read_all(&self) -> Vec<Batch<Bytes>> {
        let mut at = self.stepped.next_offset(ONE);
        let end = self.log.bounds(ONE).durable_offset;
        let mut all = Vec::new();
        while at < end {
            let read = block_on(self.log.read(ONE, at, 1 << 20)).expect("it is there");
            at = read.last().expect("there is more").next_offset();
            all.extend(read);
        }
        all
    }

    /// Looks up ids and adds to the counters in memory.
    pub(crate) fn count(&mut self, batches: &[Batch<Bytes>]) {
        self.stepped.apply(ONE, batches).expect("they come next");
    }

    /// Writes the counters.
    pub(crate) fn flush(&self) {
        self.stepped.flush(ONE).expect("there is room");
    }

    /// Writes a raw file of all events.
    pub(crate) fn archive(&self, batches: &[Batch<Bytes>]) {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return };
        let file = RawFile {
            partition: ONE,
            from: first.base_offset,
            to: last.next_offset(),
            hour: NOW.minute().hour(),
        };
        let write = self.archive.write_raw(file, &|| (), &mut |sink| {
            let mut head = RawHead::default();
            for batch in batches {
                for (offset, record) in (batch.base_offset.0..).zip(split(&batch.payload)) {
                    let record = record.expect("whole");
                    if batch.is_control {
                        let control = (Offset(offset), batch.append_time, record.to_vec());
                        head.controls.push(control);
                        continue;
                    }
                    let record = Record::read(record).expect("a record");
                    sink(RawEvent {
                        offset: Offset(offset),
                        append_time: batch.append_time,
                        id: record.id,
                        item: record.item,
                        event_type: record.event_type,
                        time: record.time,
                        value: record.value,
                        attributes: Some(r#"{"country":"DE","device":"tv"}"#),
                        source: record.source,
                    })?;
                }
            }
            Ok(head)
        });
        write.expect("there is room");
    }
}
