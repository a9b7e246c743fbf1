//! Backups of a log and a store on a real file system.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::conformance::event_log::{ids, part, read_all};
use engine::ports::{CounterRow, CounterStore, EventLog, Flush};
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::{Cell, Checkpoint, Offset, RowKey, Stamp, StoredRow, Summary, TimestampMs};

use super::*;
use crate::embedded::log::{Codec, LogSettings};
use crate::embedded::store::StoreSettings;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> ClockReading {
        ClockReading { wall: TimestampMs(1_795_255_200_000), monotonic_ms: 0 }
    }
}

/// A data folder with a log of two partitions in small segments, and a store.
struct Bench {
    scratch: tempfile::TempDir,
    log: EmbeddedLog,
    store: EmbeddedStore,
    details: EmbeddedDetails,
}

fn open(data_dir: &Path, bytes: Option<u64>) -> (EmbeddedLog, EmbeddedStore) {
    let settings = LogSettings {
        segment_bytes: 12 << 10,
        codec: Codec::None,
        batch_bytes_max: 2 << 10,
        tail_bytes_max: 1 << 10,
        retention_bytes: bytes,
        ..LogSettings::new(2)
    };
    fs::create_dir_all(data_dir).unwrap();
    let store = EmbeddedStore::open(&data_dir.join("store"), StoreSettings::default()).unwrap();
    let dir = data_dir.join("log");
    let log = EmbeddedLog::open(Arc::new(RealDisk), &dir, &settings, Arc::new(Noon), &[]);
    (log.unwrap(), store)
}

impl Bench {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (log, store) = open(&scratch.path().join("data"), Some(1));
        let details = EmbeddedDetails::open(&scratch.path().join("data/details"), 0).unwrap();
        Self { scratch, log, store, details }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn append(&self, prefix: &str) {
        let parts = vec![part(PartitionId(0), prefix, 20), part(PartitionId(1), prefix, 5)];
        let results = block_on(self.log.append(parts).unwrap());
        assert!(results.iter().all(Result::is_ok));
    }

    /// A flush of the first partition, in which item `n` counts `n`.
    fn flush(&self, items: u64, next_offset: u64) {
        let stamp = Stamp { next_offset: Offset(next_offset), log_epoch: 1, ..Stamp::default() };
        let names: Vec<String> = (0..items).map(|n| format!("item-{n:05}")).collect();
        let mut rows = names.iter().zip(0..).map(|(item, count)| {
            let cells =
                vec![Cell { slot: Cell::WHOLE, summary: Summary { count, ..Summary::EMPTY } }];
            let row = StoredRow { stamp, cells, newest_hour: None };
            Ok(CounterRow { key: RowKey::Total { item, event_type: "view" }, row })
        });
        let checkpoint =
            Checkpoint { log_epoch: 1, next_offset: Offset(next_offset), ..Checkpoint::default() };
        let flush = Flush {
            partition: PartitionId(0),
            dead_letters: &[],
            sources: &[],
            bulk: &[],
            repairs: &[],
            checkpoint,
        };
        self.store.flush(&flush, &mut rows).unwrap();
    }

    fn backup(&self, folder: &str, heard: &mut Heard<'_>) -> Result<Manifest, PortError> {
        let data_dir = self.path("data");
        let source = Source {
            store: &self.store,
            log: &self.log,
            details: &self.details,
            data_dir: &data_dir,
            clock: &Noon,
        };
        backup(&source, &self.path(folder), heard)
    }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn all_ids(log: &EmbeddedLog, to: Option<Offset>) -> Vec<(u64, String)> {
    let read = |partition| {
        let from = log.bounds(partition).start_offset;
        ids(&read_all(log, partition, from, 1 << 20))
    };
    let to = to.map_or(u64::MAX, |to| to.0);
    let first = read(PartitionId(0)).into_iter().filter(|(offset, _)| *offset < to);
    first.chain(read(PartitionId(1))).collect()
}

#[test]
fn what_is_restored_is_what_was_there() {
    let bench = Bench::new();
    // Several segments, the newest of them in use.
    (0..40).for_each(|n| bench.append(&format!("before-{n}")));
    bench.flush(5_000, 500);
    fs::create_dir_all(bench.path("data/archive/raw/hour=1")).unwrap();
    fs::write(bench.path("data/archive/raw/hour=1/p0.parquet"), b"columns").unwrap();
    fs::write(bench.path("data/archive/manifest.json"), b"names").unwrap();
    let raw_file =
        |from: u64, to: u64| format!("archive/raw/hour=1/p0-{from:020}-{to:020}.parquet");
    let end = bench.log.bounds(PartitionId(0)).durable_offset.0;
    let (within, behind) = (raw_file(0, end), raw_file(end, end + 1));
    for raw in [&within, &behind] {
        fs::write(bench.path(&format!("data/{raw}")), b"rows").unwrap();
    }
    fs::write(bench.path("data/archive-owner"), b"me").unwrap();
    let before = all_ids(&bench.log, None);
    let manifest = bench.backup("backup", &mut go_on).unwrap();
    let durable = bench.log.bounds(PartitionId(0)).durable_offset;
    let of_first = &manifest.partitions[0];
    assert_eq!((of_first.checkpoint_offset, of_first.durable_offset), (500, durable.0));
    assert!(manifest.files.iter().filter(|file| file.path.starts_with("log/0/")).count() > 2);
    // What comes later is not in it.
    bench.append("after");
    bench.flush(3, 600);

    let mut heard = Progress::default();
    let restored = restore(&bench.path("backup"), &bench.path("restored"), &mut |progress| {
        heard = progress;
        ControlFlow::Continue(())
    });
    assert_eq!(restored.unwrap(), manifest);
    assert_eq!(heard.done, heard.total, "it says that it is done");
    let (log, store) = open(&bench.path("restored"), None);
    assert_eq!(all_ids(&log, None), before);
    assert_eq!(log.bounds(PartitionId(0)).log_epoch, of_first.log_epoch + 1, "a new epoch");
    let snapshot = store.snapshot().unwrap();
    let checkpoint = snapshot.checkpoint(PartitionId(0)).unwrap();
    assert_eq!(checkpoint.map(|c| c.next_offset), Some(Offset(500)));
    for n in [0_u64, 1, 2, 4_999] {
        let item = format!("item-{n:05}");
        let key = RowKey::Total { item: &item, event_type: "view" };
        let rows = snapshot.get(PartitionId(0), &[key]).unwrap();
        assert_eq!(rows[0].as_ref().map(|row| row.summary().count), Some(n));
    }
    // It takes more, in the store too.
    let parts = vec![part(PartitionId(0), "more", 3)];
    assert!(block_on(log.append(parts).unwrap())[0].is_ok());
    drop(log);
    assert_eq!(fs::read(bench.path("restored/archive/raw/hour=1/p0.parquet")).unwrap(), b"columns");
    assert_eq!(fs::read(bench.path("restored/archive/manifest.json")).unwrap(), b"names");
    assert_eq!(fs::read(bench.path("restored/archive-owner")).unwrap(), b"me");
    assert_eq!(fs::read(bench.path(&format!("restored/{within}"))).unwrap(), b"rows");
    assert!(
        !bench.path(&format!("restored/{behind}")).exists(),
        "of events that are not in the log"
    );
    let again = restore(&bench.path("backup"), &bench.path("restored"), &mut go_on);
    assert_eq!(again.unwrap_err().kind, ErrorKind::Conflict, "never over data");
}

#[test]
fn a_backup_under_load_holds_what_was_acknowledged_before_it() {
    let bench = Bench::new();
    (0..10).for_each(|n| bench.append(&format!("before-{n}")));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                bench.append(&format!("during-{n}"));
            }
        });
        for n in 0..5 {
            let before = all_ids(&bench.log, None);
            bench.backup(&format!("backup-{n}"), &mut go_on).unwrap();
            let data_dir = bench.path(&format!("restored-{n}"));
            restore(&bench.path(&format!("backup-{n}")), &data_dir, &mut go_on).unwrap();
            let found = all_ids(&open(&data_dir, None).0, None);
            let found: BTreeMap<_, _> =
                found.iter().map(|(offset, id)| ((id, offset), ())).collect();
            assert!(before.iter().all(|(offset, id)| found.contains_key(&(id, offset))), "{n}");
        }
        ends.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_flipped_bit_in_any_file_is_found_and_named() {
    let bench = Bench::new();
    (0..10).for_each(|n| bench.append(&format!("before-{n}")));
    bench.flush(10, 100);
    let manifest = bench.backup("backup", &mut go_on).unwrap();
    let mut paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    paths.push(MANIFEST);
    for path in paths {
        let file = bench.path("backup").join(path);
        let bytes = fs::read(&file).unwrap();
        let mut damages = vec![[&bytes[..], b"\0"].concat()];
        for at in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let mut flipped = bytes.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 0x10;
                damages.push(flipped);
            }
        }
        for damaged in damages.iter().map(Some).chain([None]) {
            match damaged {
                Some(damaged) => fs::write(&file, damaged).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let target = bench.path("restored");
            let error = restore(&bench.path("backup"), &target, &mut go_on).expect_err(path);
            assert!(error.to_string().contains(path), "{path}: {error}");
            assert!(find(&target).unwrap().is_empty(), "{path}: nothing is restored");
        }
        fs::write(&file, &bytes).unwrap();
    }
    restore(&bench.path("backup"), &bench.path("restored"), &mut go_on).unwrap();
}

#[test]
fn a_backup_that_is_ended_at_any_point_is_none() {
    let bench = Bench::new();
    (0..30).for_each(|n| bench.append(&format!("before-{n}")));
    bench.flush(2_000, 100);
    let mut left = 0;
    loop {
        let mut calls = 0;
        let result = bench.backup("backup", &mut |_| {
            calls += 1;
            if calls > left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let Err(error) = result else { break };
        assert_eq!(error.kind, ErrorKind::Unavailable);
        let error = restore(&bench.path("backup"), &bench.path("restored"), &mut go_on);
        assert_eq!(error.unwrap_err().kind, ErrorKind::Invalid, "after {left} steps");
        left += 1;
    }
    assert!(left > 5, "{left} steps");
    let other = bench.backup("backup", &mut go_on).unwrap_err();
    assert_eq!(other.kind, ErrorKind::Conflict, "never over another");
}

#[test]
fn nothing_is_let_go_of_while_the_log_is_pinned() {
    let bench = Bench::new();
    (0..40).for_each(|n| bench.append(&format!("before-{n}")));
    let end = bench.log.bounds(PartitionId(0)).durable_offset;
    let pinned = bench.log.pin().unwrap();
    let other = bench.log.pin().unwrap();
    let files = pinned.partitions[0].files.clone();
    assert!(files.len() > 2);
    bench.log.trim(PartitionId(0), end).unwrap();
    drop(other);
    bench.log.trim(PartitionId(0), end).unwrap();
    assert!(files.iter().all(|file| file.path.exists()));
    drop(pinned);
    bench.log.trim(PartitionId(0), end).unwrap();
    assert!(!files[0].path.exists());
}
