//! One recount: reads raw events and the rest of the log, compares with what is stored.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use batch::{Recount, Scope, StoredCell, raw_files};
use engine::ports::{CounterSnapshot, ErrorKind, PortError};
use model::bucket::HOUR_MS;
use model::{Cell, Checkpoint, Day, Hour, Offset, PartitionId, StoredRow, Summary, TimestampMs};

use super::found::{Found, numbers};
use super::pace::Pace;
use super::{Job, Recounts, Stopped, tail, totals};

/// Events that are judged in one go, by all threads. More are gone through several times, each time with a share of
/// the items: an event that may repeat takes some 30 bytes.
const EVENTS_AT_A_TIME: u64 = 24_000_000;
/// How long a recount waits for a flush that takes what it has read into the store.
const FLUSH_PATIENCE: Duration = Duration::from_secs(120);
const FLUSH_POLL: Duration = Duration::from_millis(100);

impl Recounts {
    /// Runs a job to its end; what differs, in no order. Partitions are read side by side, as many
    /// as there are cores.
    pub(super) fn run(&self, job: &Job) -> anyhow::Result<Vec<Found>> {
        let files = match &self.archive {
            Some(archive) => raw_files(&**archive)?,
            None => Vec::new(),
        };
        let partitions = self.log.partitions();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(usize::from(partitions));
        let next = AtomicU16::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let partition = next.fetch_add(1, Ordering::Relaxed);
                if partition >= partitions {
                    return Ok(found);
                }
                let partition = PartitionId(partition);
                match self.partition(job, partition, &files, threads as u64) {
                    Ok(mut of_it) => found.append(&mut of_it),
                    Err(error) => {
                        // Nothing can be said without this one.
                        next.store(partitions, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut found = work();
            for other in others {
                let of_other =
                    other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                found = match (found, of_other) {
                    (Ok(found), Ok(of_other)) => Ok(found.into_iter().chain(of_other).collect()),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
            }
            found
        })
    }

    fn partition(
        &self,
        job: &Job,
        partition: PartitionId,
        files: &[batch::RawFile],
        threads: u64,
    ) -> anyhow::Result<Vec<Found>> {
        let needed = job.scope(0, 1).needed_from_ms();
        let mine = files.iter().filter(|file| file.partition == partition.0);
        let of_files: u64 = mine
            .clone()
            .filter(|file| file.hour_ms + HOUR_MS > needed)
            .map(|file| file.to - file.from)
            .sum();
        let bounds = self.log.bounds(partition);
        let read_to = mine.map(|file| file.to).max().unwrap_or(bounds.start_offset.0);
        let planned = of_files + bounds.durable_offset.0.saturating_sub(read_to);
        let shares = (planned * threads / EVENTS_AT_A_TIME + 1) as u32;
        job.plan(planned * u64::from(shares));
        let mut found = Vec::new();
        let mut pace = Pace::new(&*self.log, threads as u32);
        for share in 0..shares {
            let scope = job.scope(share, shares);
            self.share(job, partition, files, scope, &mut pace, &mut found)?;
        }
        Ok(found)
    }

    fn share(
        &self,
        job: &Job,
        partition: PartitionId,
        files: &[batch::RawFile],
        scope: Scope,
        pace: &mut Pace<'_>,
        found: &mut Vec<Found>,
    ) -> anyhow::Result<()> {
        let mut go_on = |events: u64| {
            pace.rest();
            job.go_on(events)
        };
        let window = self.checkpoint(partition)?.1.window_minutes;
        let needed = scope.needed_from_ms();
        let mut recount = Recount::new(partition.0, scope.clone(), window.max(1), rand::random());
        let archived = match &self.archive {
            Some(archive) => recount.read_archive(&**archive, files, &mut go_on)?,
            None => None,
        };
        let mut next = match archived {
            Some(next) => Offset(next),
            None => {
                if let Some(kept_ms) = tail::oldest_ms(&*self.log, partition)?
                    && kept_ms >= needed
                {
                    let partition = partition.0;
                    return Err(
                        batch::Error::TooOld { partition, kept_ms, needed_ms: needed }.into()
                    );
                }
                self.log.bounds(partition).start_offset
            }
        };
        let bounds = self.log.bounds(partition);
        let start = bounds.start_offset;
        if next < start {
            let (partition, from, to) = (partition.0, next.0, start.0);
            return Err(batch::Error::Gap { partition, from, to }.into());
        }
        // Most of what is left is read before a snapshot is taken, which is not to live long.
        for is_closing in [false, true] {
            // Everything that was accepted before is to be compared.
            let needed = next.max(bounds.durable_offset);
            let (snapshot, checkpoint) = self.caught_up(job, partition, needed)?;
            let to = checkpoint.next_offset;
            recount.begins_at(next.0);
            tail::read(&*self.log, partition, next, to, &mut recount, &mut go_on)?;
            next = to;
            if is_closing {
                for (source, state) in snapshot.sources(partition)? {
                    recount.check_source(&source, state.since.0)?;
                }
                let kept_from = checkpoint.horizons.hour().start();
                anyhow::ensure!(
                    scope.start_ms >= kept_from.0,
                    "hours before {kept_from} are no longer kept, only days are: ask for a later start"
                );
                let cells = compare(&*snapshot, partition, &checkpoint, &mut recount, &scope)?;
                // Of what is older than hours are kept, a total has more than hours add up to.
                let has_days = snapshot.cold_until()? > Day(0)
                    || !snapshot.days(partition, 0..u32::MAX)?.is_empty();
                let totals = match has_days {
                    true => Vec::new(),
                    false => totals::check(&*snapshot, partition, &checkpoint, &scope, &cells)?,
                };
                job.checks_totals(!has_days);
                found.extend(cells.into_iter().chain(totals));
                job.compared(recount.read());
                job.ends_at(partition, to);
            }
        }
        Ok(())
    }

    /// A snapshot that has counted everything below an offset.
    fn caught_up(
        &self,
        job: &Job,
        partition: PartitionId,
        next: Offset,
    ) -> anyhow::Result<(Box<dyn CounterSnapshot>, Checkpoint)> {
        let mut waited = Duration::ZERO;
        loop {
            let (snapshot, checkpoint) = self.checkpoint(partition)?;
            if checkpoint.next_offset >= next {
                return Ok((snapshot, checkpoint));
            }
            drop(snapshot);
            if !job.go_on(0) {
                return Err(Stopped.into());
            }
            if waited >= FLUSH_PATIENCE {
                let context = format!(
                    "partition {partition} is not flushed up to offset {next}: does the counter \
                     store take flushes?"
                );
                return Err(PortError::new(ErrorKind::Unavailable, context).into());
            }
            std::thread::sleep(FLUSH_POLL);
            waited += FLUSH_POLL;
        }
    }

    pub(super) fn checkpoint(
        &self,
        partition: PartitionId,
    ) -> Result<(Box<dyn CounterSnapshot>, Checkpoint), PortError> {
        let snapshot = self.store.snapshot()?;
        let checkpoint = snapshot.checkpoint(partition)?.unwrap_or_default();
        Ok((snapshot, checkpoint))
    }
}

/// Whether a row has counted more than a checkpoint says, as on a store that writes row by row.
pub(super) fn is_ahead(row: &StoredRow, checkpoint: &Checkpoint) -> bool {
    let row = (row.stamp.log_epoch, row.stamp.next_offset);
    row > (checkpoint.log_epoch, checkpoint.next_offset)
}

/// Compares the hour rows of a range with what was counted again.
fn compare(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    checkpoint: &Checkpoint,
    recount: &mut Recount,
    scope: &Scope,
) -> anyhow::Result<Vec<Found>> {
    let known = checkpoint.next_offset;
    recount.settle(checkpoint.horizons.minute().start().0);
    let hour = |ms: i64| u32::try_from(ms / HOUR_MS).unwrap_or(u32::MAX);
    let mut found = Vec::new();
    let mut are_ahead = false;
    let mut each = |hour: Hour, event_type: &str, item: &str, row: StoredRow| {
        are_ahead |= is_ahead(&row, checkpoint);
        let mut compare = |start: TimestampMs, summary: &Summary| {
            let numbers = numbers(summary);
            let cell = StoredCell { start_ms: start.0, item, event_type, numbers };
            found.extend(recount.compare(&cell).map(|difference| Found::of(difference, known)));
        };
        if hour < checkpoint.horizons.minute() {
            // Its minutes may be folded or not.
            return compare(hour.start(), &row.summary());
        }
        for Cell { slot, summary } in &row.cells {
            compare(hour.minute(slot % 60).start(), summary);
        }
    };
    snapshot.scan_hours(partition, hour(scope.start_ms)..hour(scope.end_ms), &mut each)?;
    anyhow::ensure!(
        !are_ahead,
        "events of these hours were counted while they were compared: ask again, or for hours that are over"
    );
    found.extend(recount.missing().into_iter().map(|difference| Found::of(difference, known)));
    Ok(found)
}
