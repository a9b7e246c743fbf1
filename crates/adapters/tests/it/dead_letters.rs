//! A dead letter that is replayed again and again while the disk, the store and the process die at
//! any moment: its event is in the log once or not at all, and the letter's state says which. No
//! dedup window helps: hours pass between the attempts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use adapters::embedded::log::{Codec, EmbeddedLog, LogSettings};
use adapters::embedded::mem_disk::MemDisk;
use engine::admission::Admission;
use engine::conformance::event_log;
use engine::conformance::mem_store::{FlushFailure, MemStore};
use engine::dead_letters::{DeadLetters, LetterError, Place};
use engine::gateway::Gateway;
use engine::ports::{
    AppendPart, Claim, Clock, CounterSnapshot, CounterStore, ErrorKind, EventLog, Flush, Folded,
    LetterState, PortError, Replay, Rows,
};
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::record::{Record, RecordError, split};
use model::{Checkpoint, DeadLetter, Event, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;
use proptest::prelude::*;

const PARTITIONS: u16 = 2;
const BEGIN_MS: i64 = 1_795_255_200_000;
const PLACE: Place = (PartitionId(1), Offset(7));
/// Items of corrected events; among them are both partitions.
const ITEMS: [&str; 4] = ["a", "b", "c", "d"];

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> ClockReading {
        let passed = self.0.load(Ordering::Relaxed);
        ClockReading { wall: TimestampMs(BEGIN_MS + passed), monotonic_ms: passed }
    }
}

/// A store whose marks fail on order.
#[derive(Default)]
struct FailingStore {
    inner: MemStore,
    failure: Mutex<Option<(u8, FlushFailure)>>,
}

impl CounterStore for FailingStore {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        self.inner.claim(partition)
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        self.inner.flush(flush, rows)
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        let mut failure = self.failure.lock();
        let now = failure.take_if(|(skip, _)| *skip == 0).map(|(_, failure)| failure);
        if let Some((skip, _)) = failure.as_mut() {
            *skip -= 1;
        }
        if now == Some(FlushFailure::Before) {
            return Err(PortError::new(ErrorKind::Unavailable, "a mark fails as ordered"));
        }
        self.inner.mark(partition, offset, from, to)?;
        match now {
            Some(_) => Err(PortError::new(ErrorKind::Corrupt, "a mark is not confirmed")),
            None => Ok(()),
        }
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        self.inner.fold(partition, rows_max)
    }

    fn note_cold(&self, until: model::Day) -> Result<(), PortError> {
        self.inner.note_cold(until)
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.inner.remove_cold(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        self.inner.snapshot()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The letter is replayed as an event of this item.
    Replay(usize),
    /// The letter is dropped.
    Discard,
    /// The disk fails at the n-th change from here, and the process with it.
    DiskDies(u64),
    /// The n-th change's sync fails, once.
    SyncFails(u64),
    /// The n-th mark from here fails, before or after it took effect.
    MarkFails(u8, FlushFailure),
    /// The process dies; with or without the machine's power.
    Crash { power: bool },
}

struct World {
    disk: MemDisk,
    store: Arc<FailingStore>,
    clock: Arc<TestClock>,
    process: Option<(Arc<EmbeddedLog>, DeadLetters)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let store = Arc::new(FailingStore::default());
        let letter = DeadLetter {
            offset: PLACE.1,
            append_time: TimestampMs(BEGIN_MS),
            reason: RecordError::Branch,
            record: vec![0xff],
        };
        let checkpoint = Checkpoint { next_offset: Offset(0), ..Checkpoint::default() };
        let dead_letters = std::slice::from_ref(&letter);
        let flush = Flush {
            partition: PLACE.0,
            dead_letters,
            sources: &[],
            bulk: &[],
            repairs: &[],
            checkpoint,
        };
        store.flush(&flush, &mut std::iter::empty()).expect("the letter is stored");
        let clock = Arc::new(TestClock(AtomicI64::new(0)));
        let mut world = Self { disk: MemDisk::new(seed), store, clock, process: None };
        world.start();
        world
    }

    fn start(&mut self) {
        // Hours later: no dedup window reaches back.
        self.clock.0.fetch_add(4 * 3_600_000, Ordering::Relaxed);
        let mut settings = LogSettings::new(PARTITIONS);
        settings.codec = Codec::None;
        settings.segment_bytes = 32 << 10;
        settings.batch_bytes_max = 8 << 10;
        settings.retention_ms = Some(1);
        let disk = Arc::new(self.disk.clone());
        let (path, clock) = (Path::new("/log"), self.clock.clone());
        let Ok(log) = EmbeddedLog::open(disk, path, &settings, clock, &[]) else {
            assert!(self.disk.is_down(), "only a dead disk keeps it from starting");
            return;
        };
        let log = Arc::new(log);
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let gateway = Gateway::new(log.clone(), self.clock.clone(), admission, 1 << 40);
        let letters = DeadLetters::new(
            Arc::new(gateway),
            log.clone(),
            self.store.clone(),
            self.clock.clone(),
        );
        self.process = Some((log, letters));
    }

    fn crash(&mut self, power: bool) {
        self.process = None;
        if power {
            self.disk.power_cycle()
        } else {
            self.disk.restart()
        }
        self.start();
    }

    fn take(&mut self, step: &Step) {
        let letters = self.process.as_ref().map(|(_, letters)| letters);
        match step {
            Step::Replay(item) => {
                let before = self.state();
                let result = letters.map(|letters| letters.replay(PLACE, &event(ITEMS[*item])));
                if let Some(Ok(_)) = result {
                    let is_settled =
                        matches!(before, LetterState::Replayed(_) | LetterState::Dropped { .. });
                    assert!(!is_settled, "{before:?} is final");
                }
            }
            Step::Discard => {
                let _ = letters.map(|letters| letters.discard(PLACE));
            }
            Step::DiskDies(n) => self.disk.crash_after(*n),
            Step::SyncFails(n) => self.disk.fail_sync_after(*n),
            Step::MarkFails(skip, failure) => {
                *self.store.failure.lock() = Some((*skip, *failure));
            }
            Step::Crash { power } => self.crash(*power),
        }
        if self.disk.is_down() {
            self.crash(true);
        }
    }

    fn state(&self) -> LetterState {
        let snapshot = self.store.snapshot().expect("the store is there");
        let mut letters = snapshot.dead_letters(PLACE.0, PLACE.1, 1).expect("the letter is there");
        letters.pop().expect("the letter is there").state
    }

    /// The items of every replay in the log.
    fn written(&self) -> Vec<String> {
        let log = &self.process.as_ref().expect("the process runs").0;
        let mut items = Vec::new();
        for partition in (0..PARTITIONS).map(PartitionId) {
            let bounds = log.bounds(partition);
            let mut from = bounds.start_offset;
            while from < bounds.durable_offset {
                for batch in block_on(log.read(partition, from, 1 << 20)).expect("readable") {
                    for record in split(&batch.payload).filter(|_| !batch.is_control) {
                        let record = Record::read(record.expect("whole")).expect("readable");
                        items.push(record.item.to_owned());
                    }
                    from = batch.next_offset();
                }
            }
        }
        items
    }
}

fn event(item: &str) -> Event<'_> {
    Event {
        id: "dead-letter-1-7".into(),
        item: item.into(),
        event_type: "view".into(),
        time: TimestampMs(BEGIN_MS),
        value: None,
        attributes: Vec::new(),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let failure = prop_oneof![Just(FlushFailure::Before), Just(FlushFailure::After)];
    let step = prop_oneof![
        6 => (0..ITEMS.len()).prop_map(Step::Replay),
        1 => Just(Step::Discard),
        2 => (0u64..12).prop_map(Step::DiskDies),
        2 => (0u64..6).prop_map(Step::SyncFails),
        2 => (0u8..3, failure).prop_map(|(skip, failure)| Step::MarkFails(skip, failure)),
        2 => any::<bool>().prop_map(|power| Step::Crash { power }),
    ];
    proptest::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_letter_is_written_once_or_not_at_all(seed in any::<u64>(), steps in steps()) {
        let mut world = World::new(seed);
        for step in &steps {
            world.take(step);
        }
        // The faults stop; one more attempt after a clean start settles it.
        *world.store.failure.lock() = None;
        world.crash(false);
        if world.process.is_none() || world.disk.is_down() {
            world.crash(true);
        }
        world.disk.fail_sync_after(u64::MAX / 2);
        let letters = &world.process.as_ref().expect("the process runs").1;
        let last = letters.replay(PLACE, &event("last"));
        prop_assert!(
            matches!(last, Ok(_) | Err(LetterError::Replayed(_) | LetterError::Dropped)),
            "{last:?}"
        );
        let written = world.written();
        match world.state() {
            LetterState::Replayed(replay) => {
                let item = Record::read(&replay.record).expect("readable").item;
                prop_assert_eq!(written, [item]);
            }
            LetterState::Dropped { .. } => prop_assert!(written.is_empty(), "{:?}", written),
            state => prop_assert!(false, "{:?} after all faults have stopped", state),
        }
    }
}

/// What the log no longer holds proves nothing: such a letter is not replayed, but can be dropped.
#[test]
fn what_cannot_be_proven_is_not_replayed() {
    let mut world = World::new(1);
    let replay = Replay {
        at: TimestampMs(BEGIN_MS),
        partition: PartitionId(0),
        log_epoch: 1,
        from: Offset(2),
        record: b"never written".to_vec(),
    };
    let replaying = LetterState::Replaying(replay);
    world.store.mark(PLACE.0, PLACE.1, &LetterState::Open, &replaying).expect("a mark");
    world.crash(false);
    let (log, letters) = world.process.as_ref().expect("the process runs");
    for n in 0..40 {
        let records = event_log::records(&format!("filling-{n}-{}", "x".repeat(40)), 50);
        let parts = vec![AppendPart { partition: PartitionId(0), records, is_control: false }];
        let results = block_on(log.append(parts).expect("taken"));
        assert!(results[0].is_ok(), "{results:?}");
    }
    world.clock.0.fetch_add(3_600_000, Ordering::Relaxed);
    log.trim(PartitionId(0), log.bounds(PartitionId(0)).durable_offset).expect("trimmed");
    assert!(log.bounds(PartitionId(0)).start_offset > Offset(2), "a segment has gone");
    let refused = letters.replay(PLACE, &event("a")).expect_err("it may have been written");
    assert!(matches!(refused, LetterError::Unprovable(_)), "{refused}");
    letters.discard(PLACE).expect("not to count it can still be decided");
    assert!(matches!(world.state(), LetterState::Dropped { .. }));
}
