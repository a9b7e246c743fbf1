//! The log as a whole, on a disk in memory.

mod behaviour;
mod crashes;
mod damage;
mod faults;
mod inspect;

use std::sync::atomic::{AtomicI64, Ordering};

use engine::conformance::event_log::{ids, part, read_all};
use engine::ports::Appended;
use futures::executor::block_on;
use model::append_time::ClockReading;

use super::*;
use crate::embedded::mem_disk::MemDisk;

/// A clock that stands still until it is moved; both its hands go together unless set apart.
#[derive(Default)]
struct HandClock {
    monotonic_ms: AtomicI64,
    wall_ahead_ms: AtomicI64,
}

impl HandClock {
    fn advance(&self, ms: i64) {
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn set_wall_ahead(&self, ms: i64) {
        self.wall_ahead_ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> ClockReading {
        let monotonic_ms = self.monotonic_ms.load(Ordering::SeqCst);
        let ahead_ms = self.wall_ahead_ms.load(Ordering::SeqCst);
        let wall = TimestampMs(1_795_255_200_000 + monotonic_ms + ahead_ms);
        ClockReading { wall, monotonic_ms }
    }
}

/// A log of two partitions with small segments, and what it stands on.
struct Bench {
    disk: MemDisk,
    clock: Arc<HandClock>,
    settings: LogSettings,
}

const FIRST: PartitionId = PartitionId(0);
const SECOND: PartitionId = PartitionId(1);

impl Bench {
    fn new(seed: u64) -> Self {
        let settings = LogSettings {
            segment_bytes: 12 << 10,
            batch_bytes_max: 2 << 10,
            tail_bytes_max: 1 << 10,
            ..LogSettings::new(2)
        };
        Self { disk: MemDisk::new(seed), clock: Arc::default(), settings }
    }

    fn try_open(&self, known_durable: &[Option<Offset>]) -> Result<EmbeddedLog, PortError> {
        let disk = Arc::new(self.disk.clone());
        EmbeddedLog::open_stepped(
            disk,
            Path::new("/log"),
            &self.settings,
            self.clock.clone(),
            known_durable,
        )
    }

    fn open(&self) -> EmbeddedLog {
        self.try_open(&[]).expect("the log opens")
    }

    fn open_threaded(&self) -> EmbeddedLog {
        let disk = Arc::new(self.disk.clone());
        EmbeddedLog::open(disk, Path::new("/log"), &self.settings, self.clock.clone(), &[])
            .expect("the log opens")
    }

    /// Segments of the first partition, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let paths = self.disk.paths().into_iter();
        let is_segment = |path: &PathBuf| {
            path.starts_with("/log/0") && path.extension().is_some_and(|ext| ext == "log")
        };
        paths.filter(is_segment).collect()
    }
}

/// Appends one part and writes it.
fn append(log: &EmbeddedLog, partition: PartitionId, prefix: &str, count: usize) -> PartResult {
    let waiting = log.append(vec![part(partition, prefix, count)])?;
    while log.step(partition) {}
    block_on(waiting).remove(0)
}

fn appended(log: &EmbeddedLog, prefix: &str, count: usize) -> Appended {
    append(log, FIRST, prefix, count).expect("durable")
}

/// Ids of everything in the first partition.
fn all(log: &EmbeddedLog) -> Vec<(u64, String)> {
    ids(&read_all(log, FIRST, log.bounds(FIRST).start_offset, usize::MAX))
}
