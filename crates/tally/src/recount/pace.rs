//! How fast a recount works: as fast as it can where nobody else does, slowly beside ingestion.

use std::time::{Duration, Instant};

use engine::ports::EventLog;
use model::PartitionId;

/// Beside ingestion all threads of a recount together rest so much longer than they work. Threads
/// that get only what cores have left over still take caches and memory from the others: without
/// a rest, the p99 of ingestion at half of the peak was several times as long.
const REST: u32 = 4;
/// More appended events a second are ingestion that a recount minds.
const EVENTS_PER_SECOND: u64 = 1_000;
/// Time between two looks at the log.
const LOOK: Duration = Duration::from_millis(250);
/// The longest rest at a time: a recount that is stopped ends soon.
const REST_MAX: Duration = Duration::from_secs(1);

/// The pace of one thread of a recount.
pub(super) struct Pace<'a> {
    log: &'a dyn EventLog,
    threads: u32,
    worked_from: Instant,
    looked: Instant,
    log_end: u64,
    is_beside_ingestion: bool,
}

impl<'a> Pace<'a> {
    /// Of one of so many threads.
    pub(super) fn new(log: &'a dyn EventLog, threads: u32) -> Self {
        let now = Instant::now();
        let log_end = end(log);
        // Until the second look it may be.
        Self { log, threads, worked_from: now, looked: now, log_end, is_beside_ingestion: true }
    }

    /// Rests for what was worked since the last rest, if there is somebody to make room for.
    pub(super) fn rest(&mut self) {
        let now = Instant::now();
        if let Some(seconds) = now.checked_duration_since(self.looked + LOOK) {
            let log_end = end(self.log);
            let seconds = (seconds + LOOK).as_secs_f64();
            let appended = log_end.saturating_sub(self.log_end) as f64;
            self.is_beside_ingestion = appended > EVENTS_PER_SECOND as f64 * seconds;
            (self.looked, self.log_end) = (now, log_end);
        }
        if self.is_beside_ingestion {
            std::thread::sleep(rest(now - self.worked_from, self.threads));
        }
        self.worked_from = Instant::now();
    }
}

/// The rest of one of so many threads after so much work.
fn rest(worked: Duration, threads: u32) -> Duration {
    let rest = worked.saturating_mul((REST + 1).saturating_mul(threads) - 1);
    rest.min(REST_MAX)
}

/// How many records were ever appended.
fn end(log: &dyn EventLog) -> u64 {
    (0..log.partitions()).map(|id| log.bounds(PartitionId(id)).durable_offset.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_together_work_a_fifth_of_the_time() {
        let worked = Duration::from_millis(2);
        for threads in [1, 2, 8] {
            let busy = worked.as_secs_f64() / (worked + rest(worked, threads)).as_secs_f64();
            assert!((busy * f64::from(threads) - 0.2).abs() < 1e-9, "{threads}");
        }
        assert_eq!(rest(Duration::from_secs(9), 2), REST_MAX);
    }
}
