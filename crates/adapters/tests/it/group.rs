//! Partitions that wander between two processors while events come: each is counted once, by
//! whoever has its partition, and both dedup windows and checkpoints go with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapters::embedded::log::{EmbeddedLog, LogSettings};
use adapters::embedded::mem_disk::MemDisk;
use bytes::Bytes;
use engine::admission::Admission;
use engine::conformance::mem_store::MemStore;
use engine::ports::{
    AppendPart, Clock, CounterStore, EventLog, LogBounds, Owner, PartResult, PortError,
};
use engine::processor::{Group, ProcessorSettings, Processors};
use engine::query::{Counted, Query};
use futures::executor::block_on;
use futures::future::BoxFuture;
use model::append_time::{ClockReading, ImplausibleClock};
use model::bucket::HOUR_MS;
use model::counter::RowKey;
use model::{
    Batch, Event, Offset, PartitionId, RecordBuf, Retention, RoutingTable, StoredRow, TimeRange,
    TimestampMs,
};

const PARTITIONS: u16 = 5;
const BEGIN_MS: i64 = 1_795_255_200_000;
const ITEMS: u64 = 40;

#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> ClockReading {
        let passed = self.0.load(Ordering::Relaxed);
        ClockReading { wall: TimestampMs(BEGIN_MS + passed), monotonic_ms: passed }
    }
}

struct World {
    log: Arc<dyn EventLog>,
    store: Arc<MemStore>,
    clock: Arc<TestClock>,
}

impl World {
    fn new() -> Self {
        let clock: Arc<TestClock> = Arc::default();
        let settings = LogSettings::new(PARTITIONS);
        let disk = Arc::new(MemDisk::new(1));
        let log = EmbeddedLog::open(disk, "log".as_ref(), &settings, clock.clone(), &[]);
        Self { log: Arc::new(log.expect("a log")), store: Arc::new(MemStore::new()), clock }
    }

    /// A processor that flushes only when something is taken from it, or often.
    fn processor(&self, flush_interval_ms: u64) -> Group {
        self.processor_of((*self.store).clone(), flush_interval_ms).0
    }

    /// The same with a handle to the store of its own; and whether none of its partitions has stopped.
    fn processor_of(&self, store: MemStore, flush_interval_ms: u64) -> (Group, impl Fn() -> bool) {
        let settings = ProcessorSettings {
            flush_interval_ms,
            table_cells_max: 10_000,
            known_bytes_max: 64 << 10,
            hash_keys: (1, 2),
            dedup_minutes: 10,
        };
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let (log, clock, judged) = (self.log.clone(), self.clock.clone(), admission.clone());
        let (store, retention) = (Arc::new(store), Retention::FOREVER);
        let group = Group::new(log, store, clock, admission, settings, retention);
        (group, move || judged.stopped_partition().is_none())
    }

    fn append(&self, n: u64) {
        let item = format!("item-{}", n % ITEMS);
        let event = Event {
            id: format!("event-{n}").into(),
            item: item.as_str().into(),
            event_type: "view".into(),
            time: TimestampMs(BEGIN_MS),
            value: None,
            attributes: Vec::new(),
        };
        let mut records = RecordBuf::new();
        records.push(&event);
        let partition = RoutingTable::first(PARTITIONS).route(&item, "", TimestampMs(0));
        let part = AppendPart { partition, records, is_control: false };
        block_on(self.log.append(vec![part]).expect("taken")).pop().expect("one").expect("durable");
    }

    fn stored(&self, item: &str) -> u64 {
        let partition = RoutingTable::first(PARTITIONS).route(item, "", TimestampMs(0));
        let snapshot = self.store.snapshot().expect("a snapshot");
        let key = RowKey::Total { item, event_type: "view" };
        let rows = snapshot.get(partition, &[key]).expect("read");
        rows[0].as_ref().map_or(0, |row: &StoredRow| row.summary().count)
    }

    fn stored_until(&self, partition: PartitionId) -> Offset {
        let snapshot = self.store.snapshot().expect("a snapshot");
        let checkpoint = snapshot.checkpoint(partition).expect("read");
        checkpoint.map_or(Offset(0), |checkpoint| checkpoint.next_offset)
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Numbers that look random, the same with every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn partitions_that_wander_are_counted_once() {
    let world = World::new();
    let groups = [world.processor(600_000), world.processor(1)];
    let mut owners = [0_usize; PARTITIONS as usize];
    let all: Vec<_> = (0..PARTITIONS).map(PartitionId).collect();
    groups[0].assigned(&all);
    let mut random = Random(20_261_122);
    let (mut next, mut sent) = (0_u64, 0_u64);
    for _ in 0..120 {
        for _ in 0..random.below(30) {
            // Every third one was sent before: a repeat counts nothing, whoever meets it.
            let is_repeat = next > 0 && random.below(3) == 0;
            world.append(if is_repeat { random.below(next) } else { next });
            next += u64::from(!is_repeat);
            sent += 1;
        }
        let partition = PartitionId(random.below(u64::from(PARTITIONS)) as u16);
        let owner = &mut owners[usize::from(partition.0)];
        let is_lost = random.below(4) == 0;
        match is_lost {
            true => groups[*owner].lost(&[partition]),
            false => groups[*owner].revoked(&[partition]),
        }
        assert!(!groups[*owner].partitions().contains(&partition), "it is given up");
        *owner = 1 - *owner;
        groups[*owner].assigned(&[partition]);
        world.clock.0.fetch_add(random.below(2_000) as i64, Ordering::Relaxed);
    }
    assert!(sent > next + 100, "there are repeats");
    let is_done = || {
        let statuses = groups.iter().flat_map(Group::status).collect::<Vec<_>>();
        assert!(statuses.iter().all(|status| !status.is_stopped), "nobody has stopped");
        statuses.len() == usize::from(PARTITIONS) && statuses.iter().all(|status| status.lag == 0)
    };
    until("everything is counted", is_done);
    for (partition, owner) in all.iter().zip(owners) {
        groups[owner].revoked(&[*partition]);
        let end = world.log.bounds(*partition).durable_offset;
        assert_eq!(world.stored_until(*partition), end, "what was counted is flushed");
    }
    for n in 0..ITEMS {
        assert_eq!(world.stored(&format!("item-{n}")), (next - n).div_ceil(ITEMS), "item-{n}");
    }
}

/// Whoever counts nothing answers from the store alone: never less than before, in the end all, and
/// `as_of` says how far it is.
#[test]
fn questions_are_answered_from_the_store_where_others_count() {
    let world = World::new();
    let settings = ProcessorSettings {
        flush_interval_ms: 1,
        table_cells_max: 10_000,
        known_bytes_max: 64 << 10,
        hash_keys: (1, 2),
        dedup_minutes: 10,
    };
    let (log, store, clock) = (world.log.clone(), world.store.clone(), world.clock.clone());
    let followed = Processors::follow(log, store, clock, settings).expect("it follows");
    let query = Query::new(followed.clone(), 7 * 86_400_000);
    query.ready().expect("there is nothing to replay");
    let count = || query.count("item-1", "view", None).expect("an answer").summary.count;
    let range =
        TimeRange::covering(TimestampMs(BEGIN_MS - HOUR_MS), TimestampMs(BEGIN_MS + HOUR_MS));
    let in_range = || query.count("item-1", "view", Some(range)).expect("an answer");
    assert_eq!((count(), in_range().summary.count), (0, 0));
    let group = world.processor(1);
    group.assigned(&(0..PARTITIONS).map(PartitionId).collect::<Vec<_>>());
    let mut seen = 0;
    for n in 0..600 {
        world.append(n);
        world.clock.0.fetch_add(100, Ordering::Relaxed);
        let now = count();
        assert!(now >= seen, "a number never goes down");
        seen = now;
    }
    until("the store has it all", || count() == 600 / ITEMS);
    until("it is known to", || {
        let Counted { summary, quality, .. } = in_range();
        let newest = TimestampMs(BEGIN_MS + 600 * 100);
        summary.count == 600 / ITEMS && quality.as_of >= newest
    });
    // Nobody counts any more, and nothing comes: all is in, also half a minute later.
    drop(group);
    world.clock.0.fetch_add(30_000, Ordering::Relaxed);
    let quiet = in_range().quality.as_of;
    assert_eq!(quiet, TimestampMs(BEGIN_MS + 600 * 100 + 30_000));
    // Something comes: it is not in, and the answer says so. What was known before is known still.
    world.append(1_001);
    world.clock.0.fetch_add(60_000, Ordering::Relaxed);
    let partition = RoutingTable::first(PARTITIONS).route("item-1", "", TimestampMs(0));
    assert!(world.stored_until(partition) < world.log.bounds(partition).durable_offset);
    assert_eq!(in_range().quality.as_of, quiet);
    followed.stop().expect("it ends");
}

#[test]
fn a_processor_that_goes_flushes_what_it_has() {
    let world = World::new();
    let group = world.processor(600_000);
    group.assigned(&[PartitionId(0), PartitionId(1)]);
    // What is assigned twice is counted once.
    group.assigned(&[PartitionId(1)]);
    (0..200).for_each(|n| world.append(n));
    until("both are counted", || {
        let statuses = group.status();
        statuses.len() == 2 && statuses.iter().all(|status| status.lag == 0)
    });
    assert_eq!(world.stored_until(PartitionId(0)), Offset(0));
    drop(group);
    for partition in [PartitionId(0), PartitionId(1)] {
        assert_eq!(world.stored_until(partition), world.log.bounds(partition).durable_offset);
    }
    assert_eq!(world.stored_until(PartitionId(2)), Offset(0), "it was nobody's");
}

/// One that heard late: it was stopped while the group gave its partition to another one, and woke.
#[test]
fn whoever_is_refused_leaves_the_partition_and_stays_well() {
    let world = World::new();
    let (first, other) = (PartitionId(0), [PartitionId(0)]);
    let (zombie, zombie_is_well) = world.processor_of(world.store.another(), 1);
    let (successor, successor_is_well) = world.processor_of(world.store.another(), 1);
    zombie.assigned(&other);
    (0..200).for_each(|n| world.append(n));
    let end = || world.log.bounds(first).durable_offset;
    until("it is flushed", || world.stored_until(first) == end());
    // The group says so to the successor; to the zombie it cannot.
    successor.assigned(&other);
    until("it is claimed", || successor.status().iter().any(|status| status.lag == 0));
    (200..400).for_each(|n| world.append(n));
    until("the zombie is refused and lets go", || zombie.status().is_empty());
    until("the successor goes on", || world.stored_until(first) == end());
    zombie.lost(&other);
    assert!(zombie_is_well() && successor_is_well(), "no partition has stopped");
    // And it may have the partition again.
    successor.revoked(&other);
    zombie.assigned(&other);
    (400..600).for_each(|n| world.append(n));
    until("it is counted", || world.stored_until(first) == end());
    assert!(zombie_is_well() && successor_is_well(), "no partition has stopped");
    for n in 0..ITEMS {
        let item = format!("item-{n}");
        if RoutingTable::first(PARTITIONS).route(&item, "", TimestampMs(0)) == first {
            assert_eq!(world.stored(&item), 600 / ITEMS, "{item}");
        }
    }
}

/// One that woke while it began to count, and claimed what is no longer its own: the rightful owner
/// claims it back.
#[test]
fn what_another_process_has_claimed_wrongly_is_claimed_back() {
    let world = World::new();
    let (first, mine) = (PartitionId(0), [PartitionId(0)]);
    let (group, is_well) = world.processor_of(world.store.another(), 1);
    group.assigned(&mine);
    (0..200).for_each(|n| world.append(n));
    let end = || world.log.bounds(first).durable_offset;
    until("it is flushed", || world.stored_until(first) == end());
    world.store.another().claim(first).expect("anybody may");
    (200..400).for_each(|n| world.append(n));
    until("it is counted on", || world.stored_until(first) == end());
    assert!(is_well(), "no partition has stopped");
    for n in 0..ITEMS {
        let item = format!("item-{n}");
        if RoutingTable::first(PARTITIONS).route(&item, "", TimestampMs(0)) == first {
            assert_eq!(world.stored(&item), 400 / ITEMS, "{item}");
        }
    }
}

/// A log that others write too: its end is known a moment late.
struct KnownLate {
    log: Arc<dyn EventLog>,
    known: AtomicU64,
}

impl EventLog for KnownLate {
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
        let bounds = self.log.bounds(partition);
        let known = Offset(self.known.load(Ordering::SeqCst));
        LogBounds { durable_offset: bounds.durable_offset.min(known), ..bounds }
    }

    fn trim(&self, partition: PartitionId, before: Offset) -> Result<(), PortError> {
        self.log.trim(partition, before)
    }

    fn append_time(&self) -> Result<TimestampMs, ImplausibleClock> {
        match self.known.load(Ordering::SeqCst) {
            u64::MAX => self.log.append_time(),
            _ => Ok(TimestampMs(BEGIN_MS - 1)),
        }
    }
}

/// Whoever had the partition until a moment ago has counted further than the next one knows the log to go.
#[test]
fn a_partition_that_is_counted_further_than_the_log_is_known_waits_for_it() {
    let mut world = World::new();
    let (first, mine) = (PartitionId(0), [PartitionId(0)]);
    (0..200).for_each(|n| world.append(n));
    let before = world.processor(1);
    before.assigned(&mine);
    let end = || world.log.bounds(first).durable_offset;
    until("it is flushed", || world.stored_until(first) == end());
    drop(before);
    let end = end();
    let late = Arc::new(KnownLate { log: world.log.clone(), known: AtomicU64::new(end.0 - 1) });
    world.log = late.clone();
    let (next, is_well) = world.processor_of(world.store.another(), 1);
    next.assigned(&mine);
    std::thread::park_timeout(Duration::from_millis(100));
    assert!(is_well() && next.status().is_empty(), "it waits");
    late.known.store(u64::MAX, Ordering::SeqCst);
    (200..400).for_each(|n| world.append(n));
    until("it is counted on", || {
        world.stored_until(first) == world.log.bounds(first).durable_offset
    });
    assert!(is_well(), "no partition has stopped");
}

/// The log was made anew, and it is known that it ends below what was counted of the old one.
#[test]
fn a_log_that_is_known_to_end_below_what_is_counted_is_refused() {
    let world = World::new();
    let (first, mine) = (PartitionId(0), [PartitionId(0)]);
    (0..200).for_each(|n| world.append(n));
    let before = world.processor(1);
    before.assigned(&mine);
    let end = || world.log.bounds(first).durable_offset;
    until("it is flushed", || world.stored_until(first) == end());
    drop(before);
    let anew = World { store: world.store.clone(), ..World::new() };
    let (group, is_well) = anew.processor_of(anew.store.another(), 1);
    group.assigned(&mine);
    until("it is refused", || !is_well());
    assert!(group.status().is_empty());
}
