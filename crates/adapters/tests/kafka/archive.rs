//! Raw files of a topic, by two processes that both think its partition theirs.

use std::sync::Arc;

use adapters::archive::{Objects, Place, RawFiles};
use adapters::kafka::KafkaLog;
use bytes::Bytes;
use engine::archiver::{Archiver, ArchiverSettings};
use engine::conformance::event_log as conformance;
use engine::ports::{AppendPart, EventLog, LogBounds, PartResult, PortError, RawArchive, RawFile};
use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use model::append_time::ImplausibleClock;
use model::bucket::HOUR_MS;
use model::record::split;
use model::{Batch, Hour, Offset, PartitionId, RecordBuf, TimestampMs};

use super::FIRST;
use super::bench::{Bench, until};

/// Records of an hour.
const HOUR_RECORDS: u64 = 700;

/// A topic whose clock is fast: another hour begins with every few records, wherever they are read.
struct Fast(Arc<KafkaLog>);

fn ahead_ms(offset: Offset) -> i64 {
    (offset.0 / HOUR_RECORDS) as i64 * HOUR_MS
}

/// A batch as several, of which each is of one hour: what is read together differs from time to time.
fn by_hour(batch: &Batch<Bytes>) -> Vec<Batch<Bytes>> {
    let mut hours: Vec<(Offset, RecordBuf)> = Vec::new();
    for (record, offset) in split(&batch.payload).zip(batch.base_offset.0..) {
        let is_next = offset.is_multiple_of(HOUR_RECORDS) || hours.is_empty();
        if is_next {
            hours.push((Offset(offset), RecordBuf::new()));
        }
        if let Some((_, records)) = hours.last_mut() {
            records.push_encoded(record.expect("a whole record"));
        }
    }
    let batch_of = |(base_offset, records): (Offset, RecordBuf)| Batch {
        base_offset,
        record_count: records.record_count(),
        append_time: TimestampMs(batch.append_time.0 + ahead_ms(base_offset)),
        payload: records.into_payload().into(),
        ..batch.clone()
    };
    hours.into_iter().map(batch_of).collect()
}

impl EventLog for Fast {
    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn append(
        &self,
        parts: Vec<AppendPart>,
    ) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        self.0.append(parts)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        let read = self.0.read(partition, from, bytes_max);
        read.map_ok(|batches| batches.iter().flat_map(by_hour).collect()).boxed()
    }

    fn bounds(&self, partition: PartitionId) -> LogBounds {
        self.0.bounds(partition)
    }

    fn trim(&self, _: PartitionId, _: Offset) -> Result<(), PortError> {
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        let time = self.0.append_time()?;
        Ok(TimestampMs(time.0 + ahead_ms(self.0.bounds(FIRST).durable_offset)))
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }
}

fn raw_files(archive: &RawFiles) -> Vec<RawFile> {
    let mut files = Vec::new();
    let mut keep = |file: RawFile| {
        files.extend((file.partition == FIRST).then_some(file));
        Ok(())
    };
    archive.list_raw(Hour(0)..Hour(u32::MAX), &mut keep).expect("a list");
    files.sort_by_key(|file| file.from);
    files
}

#[test]
fn two_that_archive_the_same_partition_make_one_archive() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().expect("a folder"));
    let place = Place::Folder(folder.path().to_owned());
    let archive = || {
        let objects = Objects::open(&place).expect("a folder");
        Arc::new(RawFiles::new(objects, "kafka cluster topic", 0))
    };
    let settings = ArchiverSettings { retention_ms: 1_000 * 24 * HOUR_MS, dedup_minutes: 10 };
    let begin = || {
        let log = Arc::new(Fast(Arc::new(bench.open())));
        let share = Box::new(|| vec![FIRST]);
        let archiver = Archiver::start_share(log.clone(), archive(), settings, share);
        (log, archiver.expect("a thread"))
    };
    let (one, other) = (begin(), begin());
    for n in 0..70 {
        let part = conformance::part(FIRST, &format!("p{n}"), 100);
        let appended = block_on(one.0.append(vec![part]).expect("taken"));
        assert!(appended.iter().all(Result::is_ok), "durable");
    }
    // Of the last hour nothing says yet that it is over.
    let lag = |archiver: &Archiver| archiver.status().first().map(|status| status.lag);
    until("both have all but the newest hour", || {
        [&one, &other].iter().all(|(_, a)| lag(a).is_some_and(|lag| lag <= HOUR_RECORDS))
            && raw_files(&archive()).len() as u64 >= 7_000 / HOUR_RECORDS - 1
    });
    // A third one goes on where they are.
    let third = begin();
    let archived = |archiver: &Archiver| archiver.status().first().map(|s| s.archived_offset);
    until("it has found the end", || archived(&third.1) == archived(&one.1));
    for (_, archiver) in [one, other, third] {
        archiver.stop();
        assert_eq!((archiver.totals().errors, archiver.totals().lost), (0, 0));
    }
    let mut next = Offset(0);
    for file in raw_files(&archive()) {
        assert_eq!(file.from, next, "each offset is in one file");
        assert_eq!(archive().next_window_minutes(file).expect("a whole file"), 10);
        next = file.to;
    }
    assert!(next.0 >= 7_000 - HOUR_RECORDS, "{next}");
}
