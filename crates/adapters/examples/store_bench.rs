//! Measures the embedded counter store as a processor uses it: read rows by key, add, flush.
//!
//! ```text
//! cargo run --release -p tally-adapters --example store_bench -- tail|zipf [--events N]
//!     [--flush N] [--rate EVENTS_PER_S] [--partitions N]
//!     [--cache-mib N] [--dir FOLDER]
//! ```
//!
//! `tail` draws items uniformly of ten million, `zipf` by Zipf 1.05 of a hundred thousand. Each
//! partition counts a batch of `--flush` events, then flushes it; meanwhile another thread reads
//! single items and times it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adapters::embedded::store::{EmbeddedStore, StoreSettings};
use engine::ports::{CounterRow, CounterStore, Flush};
use model::{
    Cell, Checkpoint, Hour, Offset, PartitionId, RowKey, Stamp, StoredRow, Summary, TimestampMs,
};

/// As the program has it: figures of memory mean little with another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENT_TYPE: &str = "view";
const TAIL_ITEMS: u64 = 10_000_000;
const ZIPF_ITEMS: usize = 100_000;
/// Rows read by one call, as a processor would in order to bound its memory.
const CHUNK_ROWS: usize = 4096;
/// Log time moves on so that an hour passes in so many events.
const EVENTS_PER_HOUR: u64 = 10_000_000;

struct Arguments {
    mode: String,
    events: u64,
    flush_events: u64,
    rate: Option<f64>,
    partitions: u16,
    dir: Option<PathBuf>,
    cache_bytes: u64,
}

fn main() {
    let arguments = arguments();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let dir = arguments.dir.clone().unwrap_or_else(|| scratch.path().to_owned()).join("store");
    let settings = StoreSettings { cache_bytes: arguments.cache_bytes };
    let store = EmbeddedStore::open(&dir, settings).expect("the store opens");
    let draw = Draw::new(&arguments.mode);
    let done = AtomicBool::new(false);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let (mut stages, reads) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..arguments.partitions)
            .map(|id| {
                let (store, draw, arguments) = (&store, &draw, &arguments);
                scope.spawn(move || write(store, draw, arguments, PartitionId(id)))
            })
            .collect();
        let reader = scope.spawn(|| read(&store, &draw, &done, arguments.partitions));
        let stages: Vec<Stages> =
            writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        done.store(true, Ordering::Relaxed);
        (stages, reader.join().expect("the reader"))
    });
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    report(&mut stages, reads, seconds, cpu);
    println!("rss {} MiB, at most {} MiB", status_mib("VmRSS"), status_mib("VmHWM"));
    let rows = rows_stored(&store, arguments.partitions);
    let bytes = store.disk_bytes().expect("a size");
    println!(
        "disk {:.1} MiB with journals; {rows} hour rows and their totals",
        bytes as f64 / (1 << 20) as f64
    );
    let reopening = Instant::now();
    drop(store);
    let closed = reopening.elapsed();
    let store = EmbeddedStore::open(&dir, settings).expect("the store opens again");
    println!("close {closed:.2?}, reopen {:.2?}", reopening.elapsed() - closed);
    println!("disk after reopening {} bytes", store.disk_bytes().expect("a size"));
}

/// What a flush took.
#[derive(Clone, Copy, Default)]
struct Stages {
    events: u64,
    rows: u64,
    get_totals: Duration,
    get_hours: Duration,
    flush: Duration,
    /// CPU time of this program's own counting, which is not the store's.
    own_cpu: f64,
}

fn write(
    store: &EmbeddedStore,
    draw: &Draw,
    arguments: &Arguments,
    partition: PartitionId,
) -> Vec<Stages> {
    let mut random = Random(u64::from(partition.0) + 1);
    let mut all = Vec::new();
    let share = arguments.events / u64::from(arguments.partitions);
    let started = Instant::now();
    let mut next = 0;
    while next < share {
        let events = arguments.flush_events.min(share - next);
        let counting = thread_cpu_seconds();
        let items = count(draw, &mut random, events, partition, arguments.partitions);
        let own_cpu = thread_cpu_seconds() - counting;
        let stamp =
            Stamp { log_epoch: 1, base_offset: Offset(next), next_offset: Offset(next + events) };
        let mut stages = flush(store, partition, &items, stamp);
        stages.events = events;
        stages.own_cpu = own_cpu;
        all.push(stages);
        next += events;
        if let Some(rate) = arguments.rate {
            let due = Duration::from_secs_f64(next as f64 * f64::from(arguments.partitions) / rate);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    all
}

/// Draws the partition's next events: items in order, with their number of events.
fn count(
    draw: &Draw,
    random: &mut Random,
    events: u64,
    partition: PartitionId,
    partitions: u16,
) -> Vec<(String, u64)> {
    let (id, partitions) = (u64::from(partition.0), u64::from(partitions));
    let mut drawn: Vec<u64> =
        (0..events).map(|_| draw.item(random) / partitions * partitions + id).collect();
    drawn.sort_unstable();
    drawn.chunk_by(|a, b| a == b).map(|run| (item_name(run[0]), run.len() as u64)).collect()
}

fn flush(
    store: &EmbeddedStore,
    partition: PartitionId,
    items: &[(String, u64)],
    stamp: Stamp,
) -> Stages {
    let hour = Hour(500_000 + (stamp.base_offset.0 / EVENTS_PER_HOUR) as u32);
    let minute = (stamp.base_offset.0 % EVENTS_PER_HOUR * 60 / EVENTS_PER_HOUR) as u8;
    let snapshot = store.snapshot().expect("a snapshot");
    let mut rows = Vec::with_capacity(items.len() * 2);
    let mut took = [Duration::ZERO; 2];
    for (stage, slot) in [(0, Cell::WHOLE), (1, minute)] {
        for chunk in items.chunks(CHUNK_ROWS) {
            let keys: Vec<RowKey<'_>> = chunk
                .iter()
                .map(|(item, _)| match stage {
                    0 => RowKey::Total { item, event_type: EVENT_TYPE },
                    _ => RowKey::Hour { hour, event_type: EVENT_TYPE, item },
                })
                .collect();
            let reading = Instant::now();
            let stored = snapshot.get(partition, &keys).expect("rows");
            took[stage] += reading.elapsed();
            for ((key, stored), (_, count)) in keys.into_iter().zip(stored).zip(chunk) {
                let mut row = stored.unwrap_or_else(StoredRow::default);
                let summary = Summary { count: *count, ..Summary::EMPTY };
                row.advance(stamp, &[Cell { slot, summary }]);
                rows.push(CounterRow { key, row });
            }
        }
    }
    drop(snapshot);
    let row_count = rows.len() as u64;
    let checkpoint = Checkpoint {
        log_epoch: 1,
        next_offset: stamp.next_offset,
        append_time: TimestampMs(0),
        ..Checkpoint::default()
    };
    let flush =
        Flush { partition, dead_letters: &[], sources: &[], bulk: &[], repairs: &[], checkpoint };
    let flushing = Instant::now();
    store.flush(&flush, &mut rows.into_iter().map(Ok)).expect("a flush");
    Stages {
        rows: row_count,
        get_totals: took[0],
        get_hours: took[1],
        flush: flushing.elapsed(),
        ..Stages::default()
    }
}

/// Reads totals of single items, 200 times a second, and says how long each took.
fn read(store: &EmbeddedStore, draw: &Draw, done: &AtomicBool, partitions: u16) -> Vec<Duration> {
    let mut random = Random(0x5eed);
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let item = item_name(draw.item(&mut random));
        let started = Instant::now();
        let snapshot = store.snapshot().expect("a snapshot");
        for partition in 0..partitions {
            let key = RowKey::Total { item: &item, event_type: EVENT_TYPE };
            snapshot.get(PartitionId(partition), &[key]).expect("a row");
        }
        took.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    took
}

fn report(stages: &mut [Stages], mut reads: Vec<Duration>, seconds: f64, cpu: f64) {
    let events: u64 = stages.iter().map(|s| s.events).sum();
    let rows: u64 = stages.iter().map(|s| s.rows).sum();
    let cpu = cpu - stages.iter().map(|s| s.own_cpu).sum::<f64>();
    println!("{} flushes, {events} events, {rows} rows, {seconds:.1} s", stages.len());
    println!(
        "{:.0} events/s, {:.0} upserts/s, {:.2} CPU s per million events",
        events as f64 / seconds,
        rows as f64 / seconds,
        cpu * 1e6 / events as f64
    );
    let per_row = |took: fn(&Stages) -> Duration, stages: &mut [Stages]| {
        stages.sort_by_key(took);
        let micros = |s: &Stages| took(s).as_secs_f64() * 1e6 / s.rows.max(1) as f64;
        let ms = |s: &Stages| took(s).as_secs_f64() * 1e3;
        let (middle, last) = (&stages[stages.len() / 2], &stages[stages.len() - 1]);
        format!("{:.0} ms ({:.2} µs a row), most {:.0} ms", ms(middle), micros(middle), ms(last))
    };
    println!("get totals: median {}", per_row(|s| s.get_totals, stages));
    println!("get hours:  median {}", per_row(|s| s.get_hours, stages));
    println!("flush:      median {}", per_row(|s| s.flush, stages));
    reads.sort();
    let at = |share: f64| reads[((reads.len() - 1) as f64 * share) as usize];
    println!(
        "{} reads of one item: p50 {:.1?} p99 {:.1?} p99.9 {:.1?} most {:.1?}",
        reads.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn rows_stored(store: &EmbeddedStore, partitions: u16) -> u64 {
    let snapshot = store.snapshot().expect("a snapshot");
    let mut rows = 0;
    for partition in (0..partitions).map(PartitionId) {
        for hour in snapshot.hours(partition, 0..u32::MAX).expect("hours") {
            let mut count = |_: &str, _: StoredRow| rows += 1;
            snapshot.scan_hour(partition, hour, EVENT_TYPE, &mut count).expect("a scan");
        }
    }
    rows
}

fn item_name(item: u64) -> String {
    format!("item-{item:08}")
}

/// Which item an event is of.
enum Draw {
    Uniform,
    /// Cumulated shares.
    Zipf(Vec<f64>),
}

impl Draw {
    fn new(mode: &str) -> Self {
        match mode {
            "tail" => Self::Uniform,
            "zipf" => {
                let mut sum = 0.0;
                let shares = (1..=ZIPF_ITEMS).map(|rank| {
                    sum += (rank as f64).powf(-1.05);
                    sum
                });
                Self::Zipf(shares.collect())
            }
            _ => usage(),
        }
    }

    fn item(&self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform => random.next() % TAIL_ITEMS,
            Self::Zipf(shares) => {
                let at = random.next() as f64 / u64::MAX as f64 * shares[shares.len() - 1];
                // Ranks are scattered over the names, so that hot items do not lie side by side.
                let rank = shares.partition_point(|share| *share < at) as u64;
                rank.wrapping_mul(0x9e37_79b9) % ZIPF_ITEMS as u64
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// CPU time of this process, user and system, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

fn thread_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn status_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).expect("kB").parse::<u64>().expect("a number") >> 10
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        mode: String::new(),
        events: 20_000_000,
        flush_events: 250_000,
        rate: None,
        partitions: 2,
        dir: None,
        cache_bytes: StoreSettings::default().cache_bytes,
    };
    let mut words = std::env::args().skip(1);
    arguments.mode = words.next().unwrap_or_else(|| usage());
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| usage());
        let number = || value.parse::<f64>().unwrap_or_else(|_| usage());
        match word.as_str() {
            "--events" => arguments.events = number() as u64,
            "--flush" => arguments.flush_events = number() as u64,
            "--rate" => arguments.rate = Some(number()),
            "--partitions" => arguments.partitions = number() as u16,
            "--cache-mib" => arguments.cache_bytes = (number() as u64) << 20,
            "--dir" => arguments.dir = Some(value.into()),
            _ => usage(),
        }
    }
    arguments
}

fn usage() -> ! {
    eprintln!(
        "store_bench tail|zipf [--events N] [--flush N] [--rate N] [--partitions N] \
         [--cache-mib N] [--dir FOLDER]"
    );
    std::process::exit(2)
}
