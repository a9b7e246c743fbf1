//! Measures group commit on a real disk: single-record appends from many tasks, and large parts,
//! in each codec. `cargo run --release -p tally-adapters --example log_bench -- DIR [SECONDS]`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adapters::embedded::disk::RealDisk;
use adapters::embedded::log::{Codec, EmbeddedLog, LogSettings};
use engine::ports::{AppendPart, Clock, EventLog};
use futures::executor::{ThreadPool, block_on};
use futures::future::join_all;
use futures::task::SpawnExt;
use model::append_time::ClockReading;
use model::{Event, PartitionId, RecordBuf, TimestampMs};

const PARTITIONS: u16 = 2;

/// Time since the start of the program, from some day on.
struct ProgramClock(Instant);

impl Clock for ProgramClock {
    fn now(&self) -> ClockReading {
        let monotonic_ms = self.0.elapsed().as_millis() as i64;
        ClockReading { wall: TimestampMs(1_795_255_200_000 + monotonic_ms), monotonic_ms }
    }
}

/// Numbers that look random.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Events with a random UUID, one of 100,000 items, a value and two attributes.
    fn records(&mut self, count: usize) -> RecordBuf {
        let mut records = RecordBuf::new();
        for _ in 0..count {
            let (high, low) = (self.next(), self.next());
            let id = format!(
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                high >> 32,
                high >> 16 & 0xffff,
                high & 0xffff,
                low >> 48,
                low & 0xffff_ffff_ffff
            );
            let pick = self.next();
            // The cube of a uniform draw: a few items take most.
            let uniform = (pick % 100_000) as f64 / 100_000.0;
            records.push(&Event {
                id: id.into(),
                item: format!("video-{:05}", (uniform.powi(3) * 100_000.0) as u32).into(),
                event_type: if pick & 1 == 0 { "view" } else { "like" }.into(),
                time: TimestampMs(1_795_255_200_000 + (pick >> 32) as i64 % 60_000),
                value: model::Value::from_micros((pick >> 40) as i64).ok(),
                attributes: vec![
                    ("country".into(), ["DE", "FR", "US", "JP"][pick as usize >> 3 & 3].into()),
                    ("device".into(), ["tv", "phone"][pick as usize >> 5 & 1].into()),
                ],
            });
        }
        records
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("a folder to write to");
    let seconds = arguments.next().map_or(3, |text| text.parse().expect("seconds"));
    let duration = Duration::from_secs(seconds);
    println!(
        "codec  callers  records/part  events/s  parts/s  bytes/event  CPU-s/M events  reopened in"
    );
    for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
        for (callers, records) in [(256, 1), (64, 1), (16, 500), (16, 1)] {
            run(&dir, codec, callers, records, duration);
        }
    }
}

fn run(dir: &str, codec: Codec, callers: usize, records: usize, duration: Duration) {
    let dir = Path::new(dir).join(format!("{codec:?}-{callers}-{records}"));
    let settings = LogSettings { codec, ..LogSettings::new(PARTITIONS) };
    let clock = Arc::new(ProgramClock(Instant::now()));
    let open = || EmbeddedLog::open(Arc::new(RealDisk), &dir, &settings, clock.clone(), &[]);
    let log = Arc::new(open().expect("the log opens"));
    let pool = ThreadPool::builder().pool_size(2).create().expect("threads");
    let events = Arc::new(AtomicU64::new(0));
    let (written, cpu) = (written_bytes(), cpu_seconds());
    let start = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let (log, events) = (log.clone(), events.clone());
        let mut draw = Draw(caller as u64);
        let samples: Vec<_> = (0..1 + 4_000 / records).map(|_| draw.records(records)).collect();
        let task = async move {
            for sample in samples.iter().cycle() {
                if start.elapsed() > duration {
                    return;
                }
                let partition = PartitionId((draw.next() % u64::from(PARTITIONS)) as u16);
                let part = AppendPart { partition, records: sample.clone(), is_control: false };
                let results = log.append(vec![part]).expect("taken").await;
                assert!(results[0].is_ok());
                events.fetch_add(records as u64, Ordering::Relaxed);
            }
        };
        pool.spawn_with_handle(task).expect("spawned")
    });
    block_on(join_all(tasks));
    let (elapsed, events) = (start.elapsed().as_secs_f64(), events.load(Ordering::Relaxed) as f64);
    let (written, cpu) = (written_bytes() - written, cpu_seconds() - cpu);
    drop(log);
    let reopening = Instant::now();
    let log = open().expect("the log opens again");
    println!(
        "{codec:?}  {callers}  {records}  {:.0}  {:.0}  {:.1}  {:.2}  {:.1?}",
        events / elapsed,
        events / records as f64 / elapsed,
        written as f64 / events,
        cpu / events * 1e6,
        reopening.elapsed(),
    );
    drop(log);
    std::fs::remove_dir_all(&dir).expect("removed");
}

/// Bytes that this process has handed to write calls.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.expect("a wchar line").parse().expect("a number")
}

/// Processor time of this process, user and system.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}
