use std::sync::atomic::{AtomicI64, Ordering};

use engine::conformance::routing_store as conformance;
use engine::ports::Clock;
use model::append_time::ClockReading;
use model::limits::ROUTING_LEAD_MS;
use model::{PartitionId, Rule, Strategy, Subject};

use super::*;
use crate::embedded::log::{EmbeddedLog, LogSettings};
use crate::embedded::mem_disk::{DiskFault, MemDisk};

const DIR: &str = "/log";
const BEGIN_MS: i64 = 1_795_255_200_000;

#[derive(Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> ClockReading {
        let monotonic_ms = self.0.load(Ordering::SeqCst);
        ClockReading { wall: TimestampMs(BEGIN_MS + monotonic_ms), monotonic_ms }
    }
}

struct Bench {
    disk: MemDisk,
    clock: Arc<HandClock>,
    log: Arc<EmbeddedLog>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (MemDisk::new(seed), Arc::new(HandClock::default()));
        let log = open_log(&disk, &clock, 2).expect("the log opens");
        Self { disk, clock, log }
    }

    fn open(&self) -> Result<EmbeddedRouting, PortError> {
        let log: Arc<dyn EventLog> = self.log.clone();
        EmbeddedRouting::open(Arc::new(self.disk.clone()), Path::new(DIR), log)
    }

    /// The process dies and another one starts.
    fn again(&mut self, is_power: bool) -> EmbeddedRouting {
        match is_power {
            true => self.disk.power_cycle(),
            false => self.disk.restart(),
        }
        let partitions = stored(&self.disk).expect("there is a log");
        self.log = open_log(&self.disk, &self.clock, partitions).expect("the log opens");
        self.open().expect("the table is there")
    }

    fn advance(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }
}

fn stored(disk: &MemDisk) -> Option<u16> {
    crate::embedded::log::stored_partitions(disk, Path::new(DIR)).expect("it can be read")
}

fn open_log(
    disk: &MemDisk,
    clock: &Arc<HandClock>,
    partitions: u16,
) -> Result<Arc<EmbeddedLog>, PortError> {
    let settings = LogSettings {
        segment_bytes: 12 << 10,
        batch_bytes_max: 2 << 10,
        ..LogSettings::new(partitions)
    };
    let disk = Arc::new(disk.clone());
    EmbeddedLog::open_stepped(disk, Path::new(DIR), &settings, clock.clone(), &[]).map(Arc::new)
}

fn spread(item: &str, over: u16) -> Vec<RoutingChange> {
    let rule = Rule { strategy: Strategy::Spread { over }, is_automatic: false };
    vec![RoutingChange { subject: Subject::Item(item.into()), rule: Some(rule) }]
}

#[test]
fn conforms() {
    let bench = Bench::new(7);
    conformance::all(&bench.open().expect("it begins"));
    let store: Arc<dyn RoutingStore> = Arc::new(bench.open().expect("it is there"));
    conformance::one_of_many_wins(&[store.clone(), store.clone(), store]);
    conformance::survives_reopening(|| Arc::new(bench.open().expect("it is there")));
}

#[test]
fn golden_bytes() {
    let hex: String = to_file(&RoutingTable::first(2)).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(&hex[..40], "54414c4c59525445010006000000020000000000");
    assert_eq!(hex.len(), 2 * (HEAD_BYTES + 6 + CRC_BYTES));
    let table = from_file(&to_file(&RoutingTable::first(2)));
    assert_eq!(table, Some(RoutingTable::first(2)));
}

#[test]
fn a_later_version_is_told_from_damage() {
    let bench = Bench::new(2);
    drop(bench.open().expect("it begins"));
    let file = Path::new(DIR).join(ROUTING_FILE);
    // Whatever a later version has behind its number.
    let mut later = MAGIC.to_vec();
    later.extend(7u16.to_le_bytes());
    later.extend(*b"something else");
    let crc = crc32c::crc32c(&later);
    later.extend(crc.to_le_bytes());
    bench.disk.remove(&file).expect("it is there");
    let made = bench.disk.create(&file, later.len() as u64).expect("a file");
    made.write_at(0, &later).expect("written");
    let error = bench.open().err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    let said = error.to_string();
    assert!(said.contains("format 7") && said.contains("knows only those up to 1"), "{said}");
    assert!(said.contains("routing.table"), "{said}");
}

#[test]
fn any_flipped_bit_is_found() {
    let bytes = to_file(&RoutingTable::first(16));
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(from_file(&bytes), None, "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert_eq!(from_file(&bytes[..len]), None);
    }
}

#[test]
fn versions_follow_each_other_and_outlive_the_process() {
    let mut bench = Bench::new(1);
    let routing = bench.open().expect("it begins");
    let table = routing.publish(1, 2, spread("hot", 2)).expect("it follows");
    let newest = table.newest().clone();
    assert_eq!(newest.published, TimestampMs(BEGIN_MS));
    assert_eq!(newest.effective, TimestampMs(BEGIN_MS + ROUTING_LEAD_MS + 1));
    assert_eq!(routing.table().expect("known"), table);
    let refused = |after, over| routing.publish(after, 2, spread("b", over)).expect_err("refused");
    assert_eq!(refused(1, 2).kind, ErrorKind::Conflict);
    assert_eq!(refused(2, 1).kind, ErrorKind::Invalid);
    // A version that follows at once takes effect after it.
    let again = routing.publish(2, 2, spread("b", 2)).expect("it follows");
    assert_eq!(again.newest().effective.0, newest.effective.0 + 1);
    bench.advance(60_000);
    let routing = bench.again(true);
    assert_eq!(routing.table().expect("known"), again);
    assert_eq!(routing.confirmed_at().expect("now"), TimestampMs(BEGIN_MS + 60_000));
}

#[test]
fn a_folder_without_its_table_is_damaged_and_one_from_before_is_not() {
    let bench = Bench::new(2);
    let file = Path::new(DIR).join(ROUTING_FILE);
    drop(bench.open().expect("it begins"));
    bench.disk.remove(&file).expect("it is there");
    let routing = bench.open().expect("it begins as it was");
    routing.publish(1, 2, spread("hot", 2)).expect("it follows");
    let bytes = bench.disk.bytes(&file).expect("it is there");
    bench.disk.flip_bit(&file, bytes.len() - 9, 3);
    assert_eq!(bench.open().err().map(|error| error.kind), Some(ErrorKind::Corrupt));
    bench.disk.remove(&file).expect("it is there");
    assert_eq!(bench.open().err().map(|error| error.kind), Some(ErrorKind::Corrupt));
}

#[test]
fn more_partitions_and_a_crash_at_any_operation() {
    for n in 0.. {
        let mut bench = Bench::new(n);
        let before = bench.open().expect("it begins").table().expect("known");
        let routing = bench.open().expect("it is there");
        bench.disk.crash_after(n);
        let grown = bench.log.grow(4).and_then(|()| routing.publish(1, 4, spread("hot", 4)));
        let is_done = grown.is_ok();
        let confirmed = routing.confirmed_at().expect("the clock is fine");
        let routing = bench.again(n % 2 == 0);
        let after = routing.table().expect("known");
        assert!(after.version() == 2 || (after == before && !is_done), "at {n}");
        assert!(bench.log.partitions() >= after.log_partitions());
        if after.version() == 2 {
            // Whoever routed by the table before had no right to do it beyond.
            let until = confirmed.0 + ROUTING_LEAD_MS;
            assert!(after.newest().effective.0 > until || is_done);
        }
        // It can be done, or is done already.
        bench.log.grow(4).expect("it grows");
        assert_eq!((bench.log.partitions(), stored(&bench.disk)), (4, Some(4)));
        let log = &bench.log;
        assert!((0..4).all(|id| log.bounds(PartitionId(id)).durable_offset.0 >= 2), "at {n}");
        routing.publish(after.version(), 4, spread("b", 2)).expect("it follows");
        if is_done {
            assert!(n > 10, "growing takes some operations");
            return;
        }
    }
}

#[test]
fn nothing_is_confirmed_while_nobody_knows_what_was_written() {
    for is_write in [false, true] {
        let bench = Bench::new(3);
        let fail = || match is_write {
            true => bench.disk.fail_after(DiskFault::FailedWrite, 0),
            false => bench.disk.fail_sync_after(0),
        };
        let routing = bench.open().expect("it begins");
        routing.publish(1, 2, spread("a", 2)).expect("it follows");
        bench.advance(5_000);
        fail();
        let error = routing.publish(2, 2, spread("b", 2)).expect_err("the disk fails");
        assert_eq!(error.kind, ErrorKind::Unavailable);
        // It is written again as it was, and then it is certain; until then time stands still.
        fail();
        bench.advance(5_000);
        assert_eq!(routing.confirmed_at().expect("known"), TimestampMs(BEGIN_MS + 5_000));
        bench.advance(HEAL_MS);
        assert_eq!(routing.confirmed_at().expect("known"), TimestampMs(BEGIN_MS + 11_000));
        let table = routing.table().expect("known");
        assert_eq!(table.version(), 2);
        assert_eq!(bench.open().expect("it is there").table().expect("known"), table);
    }
}
