//! Clients that retry, a gateway, the real log on a disk that dies at any write or sync, a
//! processor and a store: whatever happens, every event counts exactly once.

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use adapters::embedded::log::{EmbeddedLog, LogSettings};
use adapters::embedded::mem_disk::MemDisk;
use engine::admission::Admission;
use engine::conformance::mem_store::{FlushFailure, MemStore};
use engine::gateway::{Gateway, Outcome};
use engine::ports::{Clock, CounterStore, EventLog, PortError};
use engine::processor::{Counting, KnownRows, Memory, flush};
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::recover::{LogFacts, resume};
use model::{Event, Offset, PartitionId, TimeRange, TimestampMs};
use proptest::prelude::*;

const PARTITIONS: u16 = 2;
const ITEMS: u8 = 5;
const BEGIN_MS: i64 = 1_795_255_200_000;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> ClockReading {
        let passed = self.0.load(Ordering::Relaxed);
        ClockReading { wall: TimestampMs(BEGIN_MS + passed), monotonic_ms: passed }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A client sends the next so many events, and with them some that it sent before.
    Send { new: u8, repeats: Vec<prop::sample::Index> },
    /// The disk fails at the n-th change from here, and the process with it.
    DiskDies(u64),
    /// The n-th change's sync fails, once.
    SyncFails(u64),
    /// The process dies; with or without the machine's power.
    Crash { power: bool },
    /// Every processor counts what is durable.
    Count,
    /// A processor flushes.
    Flush { partition: u16, failure: Option<FlushFailure> },
    /// Some seconds pass.
    Pass(u8),
}

/// A process: all of it is lost in a crash.
struct Process {
    log: Arc<EmbeddedLog>,
    gateway: Gateway,
    processors: Vec<(Counting, Memory, KnownRows)>,
}

struct World {
    disk: MemDisk,
    store: MemStore,
    clock: Arc<TestClock>,
    process: Option<Process>,
    /// Events sent so far, and which of them were acknowledged.
    sent: u32,
    acknowledged: Vec<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            disk: MemDisk::new(seed),
            store: MemStore::new(),
            clock: Arc::new(TestClock(AtomicI64::new(0))),
            process: None,
            sent: 0,
            acknowledged: Vec::new(),
        };
        world.start();
        world
    }

    /// Starts the process, if the disk lets it.
    fn start(&mut self) {
        self.process = self
            .try_start()
            .inspect_err(|error| {
                assert!(self.disk.is_down(), "only a dead disk keeps it from starting: {error:?}");
            })
            .ok();
    }

    fn try_start(&self) -> Result<Process, PortError> {
        let snapshot = self.store.snapshot()?;
        let checkpoints: Vec<_> = (0..PARTITIONS)
            .map(|id| snapshot.checkpoint(PartitionId(id)))
            .collect::<Result<_, _>>()?;
        let known: Vec<Option<Offset>> =
            checkpoints.iter().map(|c| c.as_ref().map(|c| c.next_offset)).collect();
        let mut settings = LogSettings::new(PARTITIONS);
        // Small enough to roll over now and then.
        settings.segment_bytes = 32 << 10;
        settings.batch_bytes_max = 8 << 10;
        settings.tail_bytes_max = 2 << 10;
        let disk = Arc::new(self.disk.clone());
        let log = EmbeddedLog::open_stepped(
            disk,
            Path::new("/log"),
            &settings,
            self.clock.clone(),
            &known,
        )?;
        let log = Arc::new(log);
        let mut processors = Vec::new();
        for (id, checkpoint) in checkpoints.iter().enumerate() {
            processors.push(recover(&log, PartitionId(id as u16), checkpoint.as_ref())?);
        }
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let as_port: Arc<dyn EventLog> = log.clone();
        let gateway = Gateway::new(as_port, self.clock.clone(), admission, 1 << 40);
        Ok(Process { log, gateway, processors })
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
        match step {
            Step::Send { new, repeats } => {
                let mut numbers: Vec<u32> = (self.sent..self.sent + u32::from(*new)).collect();
                self.sent += u32::from(*new);
                self.acknowledged.resize(self.sent as usize, false);
                numbers.extend(repeats.iter().map(|at| at.index(self.sent as usize) as u32));
                self.send(&numbers);
            }
            Step::DiskDies(n) => self.disk.crash_after(*n),
            Step::SyncFails(n) => self.disk.fail_sync_after(*n),
            Step::Crash { power } => self.crash(*power),
            Step::Count => self.count(),
            Step::Flush { partition, failure } => self.flush(*partition, *failure),
            Step::Pass(seconds) => {
                self.clock.0.fetch_add(i64::from(*seconds) * 1_000, Ordering::Relaxed);
            }
        }
        if self.disk.is_down() {
            self.crash(true);
        }
    }

    /// Sends events as one request and notes which were acknowledged.
    fn send(&mut self, numbers: &[u32]) {
        let Some(process) = &self.process else { return };
        let Ok(outcome) = process.send(numbers) else { return };
        for (at, number) in numbers.iter().enumerate() {
            if outcome.failed.iter().all(|failed| failed.index as usize != at) {
                self.acknowledged[*number as usize] = true;
            }
        }
    }

    fn count(&mut self) {
        let Some(process) = &mut self.process else { return };
        for (id, (counting, memory, _)) in process.processors.iter_mut().enumerate() {
            let id = PartitionId(id as u16);
            while counting.next_offset() < process.log.bounds(id).durable_offset {
                let read = block_on(process.log.read(id, counting.next_offset(), 4 << 10));
                for batch in read.expect("what is durable can be read") {
                    counting.apply(&batch, memory).expect("batches follow each other");
                }
            }
        }
    }

    fn flush(&mut self, partition: u16, failure: Option<FlushFailure>) {
        let Some(process) = &mut self.process else { return };
        let (_, memory, rows) = &mut process.processors[usize::from(partition)];
        let Some(frozen) = memory.freeze_now() else { return };
        if let Some(failure) = failure {
            self.store.fail_flush(0, failure);
        }
        match flush(&self.store, PartitionId(partition), &frozen, None, rows) {
            Ok(()) => {
                memory.flushed();
                let needed = frozen.checkpoint.window_start_offset;
                // A dead disk shows at the next step.
                let _ = process.log.trim(PartitionId(partition), needed);
            }
            Err(_) if failure == Some(FlushFailure::Before) => {}
            Err(_) => self.crash(false),
        }
    }

    /// How often an item has been counted, by store and memory.
    fn counted(&self, item: u8) -> u64 {
        let process = self.process.as_ref().expect("the process runs");
        let snapshot = self.store.snapshot().expect("the store is there");
        let mut total = 0;
        for (id, (_, memory, _)) in process.processors.iter().enumerate() {
            let id = PartitionId(id as u16);
            let checkpoint = snapshot.checkpoint(id).expect("it is there").unwrap_or_default();
            let name = item_name(item);
            memory.look(|tables| {
                for table in tables.since(checkpoint.next_offset).expect("they meet") {
                    total += table.summary(&name, "view", TimeRange::ALL).count;
                }
            });
            let key = model::RowKey::Total { item: &name, event_type: "view" };
            let rows = snapshot.get(id, &[key]).expect("it is there");
            total += rows.iter().flatten().map(|row| row.summary().count).sum::<u64>();
        }
        total
    }

    /// The clients retry until all is acknowledged, and the processors catch up.
    fn settle(&mut self) {
        self.disk.restart();
        self.crash(true);
        for at in 0..self.sent {
            if !self.acknowledged[at as usize] {
                self.send(&[at]);
            }
        }
        assert!(self.acknowledged.iter().all(|done| *done), "a sound disk takes every event");
        self.count();
    }
}

impl Process {
    fn send(&self, numbers: &[u32]) -> Result<Outcome, PortError> {
        let mut batch = self.gateway.begin().expect("it is ready");
        for (index, number) in (0..).zip(numbers) {
            let event = Event {
                id: format!("event-{number}").into(),
                item: item_name((number % u32::from(ITEMS)) as u8).into(),
                event_type: "view".into(),
                time: TimestampMs(BEGIN_MS + i64::from(*number)),
                value: None,
                attributes: Vec::new(),
            };
            batch.offer(index, &event).expect("the event keeps the rules");
        }
        let mut commit = pin!(batch.commit());
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(outcome) = commit.as_mut().poll(&mut context) {
                return outcome;
            }
            let stepped = (0..PARTITIONS).any(|id| self.log.step(PartitionId(id)));
            assert!(stepped, "a request that waits has something in a queue");
        }
    }
}

fn item_name(item: u8) -> String {
    format!("item-{item}")
}

fn recover(
    log: &EmbeddedLog,
    id: PartitionId,
    checkpoint: Option<&model::Checkpoint>,
) -> Result<(Counting, Memory, KnownRows), PortError> {
    let bounds = log.bounds(id);
    let facts = LogFacts {
        log_epoch: bounds.log_epoch,
        start_offset: bounds.start_offset,
        durable_offset: bounds.durable_offset,
    };
    let resume = resume(checkpoint, facts).expect("log and store belong together");
    let mut counting = Counting::new(checkpoint, 10, (3, 4));
    let mut from = resume.window_from;
    while from < resume.count_from {
        for batch in block_on(log.read(id, from, 4 << 10))? {
            counting.rebuild(&batch, from);
            from = from.max(batch.next_offset());
        }
    }
    // So little that rows are forgotten again.
    let rows = KnownRows::new(8 << 10, 5, checkpoint.is_none());
    Ok((counting, Memory::new(checkpoint.copied().unwrap_or_default(), 5), rows))
}

fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![
        4 => Just(None),
        1 => Just(Some(FlushFailure::Before)),
        1 => Just(Some(FlushFailure::After)),
    ];
    let repeats = proptest::collection::vec(any::<prop::sample::Index>(), 0..6);
    prop_oneof![
        8 => (1u8..40, repeats).prop_map(|(new, repeats)| Step::Send { new, repeats }),
        2 => (0u64..12).prop_map(Step::DiskDies),
        1 => (0u64..12).prop_map(Step::SyncFails),
        1 => any::<bool>().prop_map(|power| Step::Crash { power }),
        4 => Just(Step::Count),
        3 => (0..PARTITIONS, failure).prop_map(|(partition, failure)| Step::Flush { partition, failure }),
        1 => (0u8..5).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_counts_exactly_once(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(seed);
        for step in &steps {
            world.take(step);
        }
        // What was acknowledged before the last crash is there without any retry.
        world.disk.restart();
        world.crash(true);
        world.count();
        let mut acknowledged: HashMap<u8, u64> = HashMap::new();
        for (number, done) in world.acknowledged.iter().enumerate() {
            *acknowledged.entry((number % usize::from(ITEMS)) as u8).or_default() += u64::from(*done);
        }
        for (item, least) in acknowledged {
            prop_assert!(world.counted(item) >= least, "an acknowledged event is lost");
        }
        world.settle();
        for item in 0..ITEMS {
            let expected = (0..world.sent).filter(|n| n % u32::from(ITEMS) == u32::from(item)).count();
            prop_assert_eq!(world.counted(item), expected as u64, "item {}", item);
        }
    }
}
