use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::append_time::ImplausibleClock;
use model::bucket::{HOUR_MS, MINUTE_MS};
use model::control::Control;
use model::{Batch, Event, Hour, Offset, PartitionId, RecordBuf, TimestampMs, Value};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::keep::KeepUnarchived;
use super::run::Shared;
use super::{Archiver, ArchiverSettings, cut};
use crate::ports::{
    AppendPart, ErrorKind, EventLog, LogBounds, PartResult, PortError, RawArchive, RawEvent,
    RawFile, RawFill, RawHead,
};

mod sharing;

const ONE: PartitionId = PartitionId(0);
const FIRST_HOUR: Hour = Hour(500_000);

/// One partition that tests write to directly; others that are added hold the same.
struct FakeLog {
    partitions: AtomicU16,
    start: Offset,
    batches: Mutex<Vec<Batch<Bytes>>>,
    now: Mutex<TimestampMs>,
    trimmed: Mutex<Vec<Offset>>,
}

impl FakeLog {
    fn new(start: u64) -> Self {
        Self {
            partitions: AtomicU16::new(1),
            start: Offset(start),
            batches: Mutex::default(),
            now: Mutex::new(FIRST_HOUR.start()),
            trimmed: Mutex::default(),
        }
    }

    fn pass(&self, minutes: i64) {
        self.now.lock().0 += minutes * MINUTE_MS;
    }

    fn end(&self) -> Offset {
        self.batches.lock().last().map_or(self.start, Batch::next_offset)
    }

    fn append(&self, payload: Vec<u8>, record_count: u32, is_control: bool) {
        let (base_offset, append_time) = (self.end(), *self.now.lock());
        self.batches.lock().push(Batch {
            partition: ONE,
            log_epoch: 1,
            base_offset,
            record_count,
            append_time,
            is_control,
            payload: payload.into(),
        });
    }

    fn append_events(&self, count: u64) {
        let mut records = RecordBuf::new();
        for n in 0..count {
            records.push(&event(self.end().0 + n));
        }
        self.append(records.into_payload(), count as u32, false);
    }

    fn append_window(&self, dedup_minutes: u32) {
        self.append(Control::Settings { dedup_minutes }.payload(), 1, true);
    }

    fn append_poison(&self) {
        self.append(vec![2, 0xff, 0xff], 1, false);
    }
}

fn event(offset: u64) -> Event<'static> {
    let attributes = match offset % 2 {
        0 => vec![("n".into(), offset.to_string().into())],
        _ => Vec::new(),
    };
    Event {
        id: format!("id-{offset}").into(),
        item: "item".into(),
        event_type: "view".into(),
        time: TimestampMs(1_795_255_200_000),
        value: Value::from_micros(offset as i64).ok().filter(|_| offset.is_multiple_of(3)),
        attributes,
    }
}

impl EventLog for FakeLog {
    fn partitions(&self) -> u16 {
        self.partitions.load(Ordering::Relaxed)
    }

    fn append(&self, _: Vec<AppendPart>) -> Result<BoxFuture<'static, Vec<PartResult>>, PortError> {
        unreachable!("nobody appends here")
    }

    fn read(
        &self,
        _: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Batch<Bytes>>, PortError>> {
        assert!((self.start..self.end()).contains(&from), "{from} is not in the log");
        let mut left = bytes_max as i64;
        let batches = self.batches.lock();
        let read = batches.iter().filter(|batch| batch.next_offset() > from).take_while(|batch| {
            let is_wanted = left > 0;
            left -= batch.payload.len() as i64;
            is_wanted
        });
        futures::future::ready(Ok(read.cloned().collect())).boxed()
    }

    fn bounds(&self, _: PartitionId) -> LogBounds {
        LogBounds { log_epoch: 1, start_offset: self.start, durable_offset: self.end() }
    }

    fn trim(&self, _: PartitionId, before: Offset) -> Result<(), PortError> {
        self.trimmed.lock().push(before);
        Ok(())
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        Ok(*self.now.lock())
    }
}

type Content = (Vec<String>, RawHead);

/// Files in memory. After so many acts everything fails, like a process that was killed.
#[derive(Default)]
struct FakeArchive {
    files: Mutex<BTreeMap<RawFile, Content>>,
    acts_left: Mutex<Option<u64>>,
}

impl FakeArchive {
    fn act(&self) -> Result<(), PortError> {
        match &mut *self.acts_left.lock() {
            Some(0) => Err(PortError::new(ErrorKind::Unavailable, "killed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn names(&self) -> Vec<(u64, u64)> {
        self.files.lock().keys().map(|file| (file.from.0, file.to.0)).collect()
    }
}

impl RawArchive for FakeArchive {
    fn write_raw(
        &self,
        file: RawFile,
        _: &dyn Fn(),
        fill: &mut RawFill<'_>,
    ) -> Result<(), PortError> {
        self.act()?;
        let mut rows = Vec::new();
        let head = fill(&mut |event: RawEvent<'_>| {
            self.act()?;
            rows.push(format!("{event:?}"));
            Ok(())
        })?;
        self.act()?;
        let told = rows.len() + head.controls.len() + head.dead_letters.len();
        assert_eq!(told as u64, file.to.0 - file.from.0);
        self.files.lock().insert(file, (rows, head));
        // It is there, and the answer is lost.
        self.act()
    }

    fn list_raw(
        &self,
        hours: Range<Hour>,
        visit: &mut dyn FnMut(RawFile) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        self.act()?;
        let files: Vec<_> = self.files.lock().keys().copied().collect();
        files.into_iter().filter(|file| hours.contains(&file.hour)).try_for_each(visit)
    }

    fn next_window_minutes(&self, file: RawFile) -> Result<u32, PortError> {
        self.act()?;
        Ok(self.files.lock()[&file].1.next_window_minutes)
    }

    fn remove_raw(&self, file: RawFile) -> Result<(), PortError> {
        self.act()?;
        self.files.lock().remove(&file);
        self.act()
    }
}

const SETTINGS: ArchiverSettings =
    ArchiverSettings { retention_ms: 48 * HOUR_MS, dedup_minutes: 10 };

fn shared(log: &Arc<FakeLog>, archive: &Arc<FakeArchive>) -> Shared {
    Shared::new(log.clone(), archive.clone(), SETTINGS)
}

/// Archives all that can be, as the thread does, without its pauses.
fn archive_all(shared: &Shared) -> Result<(), PortError> {
    let mut courses = shared.recover()?;
    while shared.archive_round(&mut courses) {}
    shared.purge_when_due(&courses, &mut TimestampMs(i64::MIN));
    Ok(())
}

#[test]
fn files_end_at_hours_and_at_multiples() {
    let full = cut::FILE_OFFSETS;
    let (log, archive) = (Arc::new(FakeLog::new(full - 5)), Arc::new(FakeArchive::default()));
    log.append_events(4);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names(), [], "neither full nor over");
    // This batch lies across the multiple.
    log.append_events(3);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names(), [(full - 5, full)]);
    log.pass(60);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names().len(), 1, "the hour may still get events that are on their way");
    log.append_events(1);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names(), [(full - 5, full), (full, full + 2)]);
    log.pass(60);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names().len(), 2);
    log.pass(1);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names()[2..], [(full + 2, full + 3)]);
    let hours: Vec<_> = archive.files.lock().keys().map(|file| file.hour.0).collect();
    assert_eq!(hours, [FIRST_HOUR.0, FIRST_HOUR.0, FIRST_HOUR.0 + 1]);
}

#[test]
fn a_file_says_what_is_no_event_and_the_window_in_force() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    log.append_window(20);
    log.append_events(1);
    log.append_poison();
    // Cut short: the second and third record cannot be told apart.
    let mut payload = RecordBuf::new();
    payload.push(&event(3));
    let mut payload = payload.into_payload();
    payload.push(200);
    log.append(payload, 3, false);
    log.pass(61);
    archive_all(&shared(&log, &archive)).unwrap();
    log.append_events(1);
    log.append_window(30);
    log.pass(61);
    archive_all(&shared(&log, &archive)).unwrap();

    let files: Vec<_> = archive.files.lock().values().cloned().collect();
    let first = RawHead {
        window_minutes: 10,
        next_window_minutes: 20,
        controls: vec![(Offset(0), FIRST_HOUR.start(), vec![1, 20, 0, 0, 0])],
        dead_letters: vec![Offset(2), Offset(4), Offset(5)],
    };
    assert_eq!(files[0].1, first);
    assert_eq!(files[1].1.window_minutes, 20);
    assert_eq!(files[1].1.next_window_minutes, 30);
    assert_eq!(files[0].0.len(), 2);
    assert!(files[0].0[0].contains(r#"id: Text("id-1"), item: "item", event_type: "view""#));
    assert!(files[1].0[0].contains(r#"attributes: Some("{\"n\":\"6\"}")"#), "{:?}", files[1].0);
}

#[test]
fn an_archive_ahead_of_the_log_is_left_alone() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    log.append_events(3);
    log.pass(61);
    archive_all(&shared(&log, &archive)).unwrap();
    let younger = Arc::new(FakeLog::new(0));
    younger.append_events(2);
    younger.pass(61);
    let shared = shared(&younger, &archive);
    archive_all(&shared).unwrap();
    assert!(shared.progress(ONE).is_stopped.load(Ordering::Relaxed));
    assert_eq!(archive.names(), [(0, 3)]);
    assert_eq!(shared.errors.load(Ordering::Relaxed), 1);
}

#[test]
fn a_log_that_lost_its_start_goes_on_with_a_gap() {
    let archive = Arc::new(FakeArchive::default());
    for start in [0, 100] {
        let log = Arc::new(FakeLog::new(start));
        log.append_events(3);
        log.pass(61);
        archive_all(&shared(&log, &archive)).unwrap();
    }
    assert_eq!(archive.names(), [(0, 3), (100, 103)]);
}

#[test]
fn old_hours_go_but_for_the_newest_file() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    for _ in 0..3 {
        log.append_events(1);
        log.pass(60);
    }
    log.pass(1);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names(), [(0, 1), (1, 2), (2, 3)]);
    log.pass(46 * 60 - 2);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names().len(), 3, "the first hour ended 47 h 59 min ago");
    log.pass(1);
    archive_all(&shared(&log, &archive)).unwrap();
    assert_eq!(archive.names(), [(1, 2), (2, 3)]);
    log.pass(1_000 * 60);
    let last = shared(&log, &archive);
    archive_all(&last).unwrap();
    assert_eq!(archive.names(), [(2, 3)], "progress must not be lost");
    assert_eq!(last.removed.load(Ordering::Relaxed), 1);
}

#[test]
fn partitions_that_are_added_are_archived_from_their_start() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    let shared = shared(&log, &archive);
    let mut courses = shared.recover().unwrap();
    log.append_events(3);
    log.pass(61);
    let added = PartitionId(1);
    let kept = KeepUnarchived::new(log.clone(), shared.progress.clone());
    log.partitions.store(2, Ordering::Relaxed);
    kept.trim(added, Offset(2)).unwrap();
    assert_eq!(*log.trimmed.lock(), [Offset(0)], "nothing of it is archived");
    shared.take_up_added(&mut courses);
    shared.take_up_added(&mut courses);
    while shared.archive_round(&mut courses) {}
    let files: Vec<_> = archive.files.lock().keys().map(|f| (f.partition, f.to.0)).collect();
    assert_eq!(files.len(), 2);
    assert!(files.contains(&(ONE, 3)) && files.contains(&(added, 3)), "{files:?}");
    kept.trim(added, Offset(2)).unwrap();
    assert_eq!(log.trimmed.lock().last(), Some(&Offset(2)));
}

#[test]
fn the_log_keeps_what_is_not_archived() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    let shared = shared(&log, &archive);
    let kept = KeepUnarchived::new(log.clone(), shared.progress.clone());
    log.append_events(5);
    kept.trim(ONE, Offset(4)).unwrap();
    log.pass(61);
    archive_all(&shared).unwrap();
    log.append_events(5);
    kept.trim(ONE, Offset(4)).unwrap();
    kept.trim(ONE, Offset(9)).unwrap();
    assert_eq!(*log.trimmed.lock(), [Offset(0), Offset(4), Offset(5)]);
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let valid = (0u64..100).prop_map(|offset| {
        let mut records = RecordBuf::new();
        records.push(&event(offset));
        records.payload()[1..].to_vec()
    });
    let flipped = (valid.clone(), any::<prop::sample::Index>(), any::<u8>());
    let flipped = flipped.prop_map(|(mut record, at, byte)| {
        *at.get_mut(&mut record) = byte;
        record
    });
    prop_oneof![valid, flipped, proptest::collection::vec(any::<u8>(), 0..20)]
}

proptest! {
    #[test]
    fn dead_letters_are_those_of_counting(
        records in proptest::collection::vec(record(), 1..20),
    ) {
        let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
        let mut payload = RecordBuf::new();
        records.iter().for_each(|record| payload.push_encoded(record));
        log.append(payload.into_payload(), records.len() as u32, false);
        log.pass(61);
        archive_all(&shared(&log, &archive)).unwrap();

        let memory = crate::processor::Memory::new(model::Checkpoint::default(), 1);
        let mut counting = crate::processor::Counting::new(None, 10, (1, 2));
        counting.apply(&log.batches.lock()[0], &memory).unwrap();
        let frozen = memory.freeze_now().unwrap();
        let dead: Vec<_> = frozen.dead_letters.iter().map(|letter| letter.offset).collect();
        let files = archive.files.lock();
        let (rows, head) = files.values().next().unwrap();
        prop_assert_eq!(&head.dead_letters, &dead);
        let tally = counting.tally();
        prop_assert_eq!(rows.len() as u64, tally.counted + tally.duplicates);
    }
}

#[test]
fn one_that_is_held_begins_when_it_may_and_can_be_stopped_before() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    log.append_events(10);
    log.pass(61);
    let start = || Archiver::start_held(log.clone(), archive.clone(), SETTINGS).unwrap();
    start().stop();
    let archiver = start();
    let may_begin = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = (may_begin.clone(), asked.clone());
    archiver.begin_when(move || {
        seen.1.fetch_add(1, Ordering::Relaxed);
        seen.0.load(Ordering::Relaxed)
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait_for = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?}", archiver.totals());
            std::thread::yield_now();
        }
    };
    wait_for(&|| asked.load(Ordering::Relaxed) > 2);
    assert_eq!(archive.names(), []);
    may_begin.store(true, Ordering::Relaxed);
    wait_for(&|| archiver.status()[0].archived_offset == Offset(10));
    archiver.stop();
}

/// The thread: archives, survives an archive that is away, and ends at once when told.
#[test]
fn the_thread_goes_on_when_the_archive_is_back() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    *archive.acts_left.lock() = Some(3);
    log.append_events(10);
    log.pass(61);
    let archiver = Archiver::start(log.clone(), archive.clone(), SETTINGS).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let wait_for = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?}", archiver.totals());
            std::thread::yield_now();
        }
    };
    wait_for(&|| archiver.totals().errors > 0);
    assert_eq!(archive.names(), []);
    assert_eq!(archiver.status()[0].lag, 10);
    *archive.acts_left.lock() = None;
    wait_for(&|| archiver.status()[0].archived_offset == Offset(10));
    assert_eq!(archiver.status()[0].lag, 0);
    assert_eq!(archiver.totals().files, 1);
    archiver.stop();
    assert!(archiver.thread.lock().is_none(), "it was joined");
    log.append_events(1);
}

#[test]
fn a_file_is_left_unwritten_when_the_process_stops() {
    let (log, archive) = (Arc::new(FakeLog::new(0)), Arc::new(FakeArchive::default()));
    log.append_events(10);
    log.pass(61);
    let shared = shared(&log, &archive);
    let mut courses = shared.recover().unwrap();
    shared.is_stopping.store(true, Ordering::Relaxed);
    let course = &mut courses[0];
    assert!(course.archive_next(&*log, &*archive, &shared.is_stopping).is_err());
    assert_eq!(archive.names(), []);
}

#[derive(Clone, Debug)]
enum Step {
    Events(u64),
    Window(u32),
    Poison,
    Pass(i64),
    /// The archiver starts, works, and is killed after so many acts of the archive.
    Killed(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..8).prop_map(Step::Events),
        1 => (1u32..60).prop_map(Step::Window),
        1 => Just(Step::Poison),
        2 => (1i64..90).prop_map(Step::Pass),
        3 => (0u64..30).prop_map(Step::Killed),
    ]
}

proptest! {
    /// However often it is killed, and wherever: the files hold each offset once, and are those
    /// of an archiver that was never killed, cut at the same moments or later.
    #[test]
    fn killed_anywhere_nothing_is_lost_or_twice(
        steps in proptest::collection::vec(step(), 1..40),
        start in prop_oneof![Just(0), (1u64 << 20) - 40..(1 << 20)],
    ) {
        let (log, archive) = (Arc::new(FakeLog::new(start)), Arc::new(FakeArchive::default()));
        for step in steps {
            match step {
                Step::Events(count) => log.append_events(count),
                Step::Window(minutes) => log.append_window(minutes),
                Step::Poison => log.append_poison(),
                Step::Pass(minutes) => log.pass(minutes),
                Step::Killed(acts) => {
                    *archive.acts_left.lock() = Some(acts);
                    let _ = archive_all(&shared(&log, &archive));
                    *archive.acts_left.lock() = None;
                }
            }
        }
        log.pass(61);
        archive_all(&shared(&log, &archive)).unwrap();
        let never_killed = Arc::new(FakeArchive::default());
        archive_all(&shared(&log, &never_killed)).unwrap();

        let mut next = start;
        for (from, to) in archive.names() {
            prop_assert_eq!(from, next);
            next = to;
        }
        prop_assert_eq!(Offset(next), log.end());
        let (files, expected) = (archive.files.lock(), never_killed.files.lock());
        prop_assert_eq!(&*files, &*expected);
    }
}
