//! One process of Tally: gateway, log, processors and store, started and driven a step at a time.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use adapters::embedded::log::{Codec, EmbeddedLog, LogSettings};
use adapters::embedded::mem_disk::MemDisk;
use anyhow::{Result, ensure};
use engine::admission::Admission;
use engine::conformance::mem_cold::MemCold;
use engine::gateway::{Gateway, Outcome, SourceStamp};
use engine::ports::{ColdCounters, CounterSnapshot, CounterStore, EventLog, PortError};
use engine::processor::{Counting, Frozen, ProcessorSettings, Stepped};
use engine::query::{Query, QueryError};
use engine::sources::SourceBook;
use futures::executor::block_on;
use model::{
    Batch, Cell, Checkpoint, Event, Granularity, Minute, Offset, PartitionId, RecordBuf, Retention,
    RoutingTable, RowKey, Summary, TimeRange, TimestampMs,
};

use crate::bug::Bug;
use crate::clock::{BEGIN_MS, SimClock};
use crate::disk::{Life, ProcessDisk};
use crate::store::SimStore;

/// Number of partitions of every simulation.
pub(crate) const PARTITIONS: u16 = 2;
/// The type of every event.
pub(crate) const EVENT_TYPE: &str = "view";
/// Where the log lies on the simulated disk.
pub(crate) const LOG_DIR: &str = "/log";
/// How old an event is at most when it is thought of, in milliseconds.
pub(crate) const EVENT_AGE_MS: i64 = 3 * 3_600_000;
/// Payload that is read at a time.
const READ_BYTES: usize = 2 << 10;
/// Seeds of the hash functions.
const HASH_KEYS: (u64, u64) = (3, 4);
/// The range of all events that are thought of.
pub(crate) const ALL_EVENTS: TimeRange = TimeRange {
    start: Minute(((BEGIN_MS - EVENT_AGE_MS) / 60_000) as u32),
    end: Minute((BEGIN_MS / 60_000) as u32),
};
/// How old an event may be, in milliseconds: never too old.
const MAX_EVENT_AGE_MS: i64 = 1 << 40;

/// What outlives a process, and how it is started.
#[derive(Clone)]
pub(crate) struct Machine {
    /// The disk.
    pub(crate) disk: MemDisk,
    /// The store.
    pub(crate) store: Arc<SimStore>,
    /// The files of cold days.
    pub(crate) cold: Arc<MemCold>,
    /// The clocks.
    pub(crate) clock: Arc<SimClock>,
    /// Length of the dedup window in minutes.
    pub(crate) window_minutes: u32,
    /// How long minutes and hours are kept.
    pub(crate) retention: Retention,
    /// How the log stores payloads.
    pub(crate) codec: Codec,
    /// How long a change to the disk takes, in milliseconds.
    pub(crate) slow_ms: i64,
    /// What is planted.
    pub(crate) bug: Option<Bug>,
}

/// What became of a delivery.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The gateway takes nothing now.
    Refused,
    /// The places that broke a rule, and what became of the others.
    Committed(Vec<usize>, Result<Outcome, PortError>),
}

/// A delivery that waits for its answer.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Answer>>>;

/// See the module. All of it is lost in a crash.
pub(crate) struct Process {
    /// The log.
    pub(crate) log: Arc<EmbeddedLog>,
    life: Arc<Life>,
    gateway: Arc<Gateway>,
    stepped: Stepped,
    query: Query,
    replay_end: Vec<Offset>,
}

impl Process {
    /// Starts a process on what the one before it left.
    pub(crate) fn start(machine: &Machine) -> Result<Self, PortError> {
        let snapshot = machine.store.snapshot()?;
        let checkpoints: Vec<_> = (0..PARTITIONS)
            .map(|id| snapshot.checkpoint(PartitionId(id)))
            .collect::<Result<_, _>>()?;
        let known: Vec<Option<Offset>> =
            checkpoints.iter().map(|c| c.as_ref().map(|c| c.next_offset)).collect();
        let drops_syncs = machine.bug == Some(Bug::DropSync);
        let life = Life::new(machine.clock.clone(), machine.slow_ms, drops_syncs);
        let disk = Arc::new(ProcessDisk { disk: machine.disk.clone(), life: life.clone() });
        let log = EmbeddedLog::open_stepped(
            disk,
            Path::new(LOG_DIR),
            &settings(machine),
            machine.clock.clone(),
            &known,
        )?;
        let log = Arc::new(log);
        let admission = Arc::new(Admission::new(PARTITIONS, u64::MAX));
        let processors = ProcessorSettings {
            flush_interval_ms: u64::MAX,
            table_cells_max: usize::MAX,
            // So little that rows are forgotten again.
            known_bytes_max: 8 << 10,
            hash_keys: HASH_KEYS,
            dedup_minutes: machine.window_minutes,
        };
        let (store, clock) = (machine.store.clone(), machine.clock.clone());
        let mut stepped =
            Stepped::open(log.clone(), store, clock.clone(), admission.clone(), processors)?;
        for (id, checkpoint) in (0..).map(PartitionId).zip(checkpoints) {
            let Some(checkpoint) = checkpoint else { continue };
            if let Some(counting) = misremember(machine, &log, id, checkpoint)? {
                stepped.replace(id, counting);
            }
        }
        let bounds = (0..PARTITIONS).map(|id| log.bounds(PartitionId(id)));
        let replay_end = bounds.map(|bounds| bounds.durable_offset).collect();
        let cold: Arc<dyn ColdCounters> = machine.cold.clone();
        let query = Query::new(stepped.processors(), MAX_EVENT_AGE_MS).with_cold(Some(cold));
        let gateway = Gateway::new(log.clone(), clock, admission, MAX_EVENT_AGE_MS);
        Ok(Self { log, life, gateway: Arc::new(gateway), stepped, query, replay_end })
    }

    /// Ends the process: nothing it still tries reaches the disk.
    pub(crate) fn kill(self) {
        self.life.end();
    }

    /// How long each change to the disk takes from now on.
    pub(crate) fn set_slow(&self, ms: i64) {
        self.life.set_slow(ms);
    }

    /// Hands a request to the gateway; it is answered once the log was stepped.
    pub(crate) fn deliver(
        &self,
        events: Vec<Event<'static>>,
        stamp: Option<SourceStamp>,
    ) -> Pending {
        let gateway = self.gateway.clone();
        Box::pin(async move {
            let begun = match stamp {
                Some(stamp) => gateway.begin_stamped(stamp),
                None => gateway.begin(),
            };
            let Ok(mut batch) = begun else { return Answer::Refused };
            let refused = events
                .iter()
                .enumerate()
                .filter(|(at, event)| batch.offer(*at as u32, event).is_err())
                .map(|(at, _)| at)
                .collect();
            Answer::Committed(refused, batch.commit().await)
        })
    }

    /// The planted bug: counts a request as if the log had it already.
    pub(crate) fn apply_early(&mut self, events: &[Event<'static>]) {
        let routing = RoutingTable::first(PARTITIONS);
        for id in (0..PARTITIONS).map(PartitionId) {
            let mut records = RecordBuf::new();
            events
                .iter()
                .filter(|e| routing.route_first(&e.item) == id)
                .for_each(|e| records.push(e));
            let bounds = self.log.bounds(id);
            if records.is_empty() || self.stepped.next_offset(id) != bounds.durable_offset {
                continue;
            }
            let batch = Batch {
                partition: id,
                log_epoch: bounds.log_epoch,
                base_offset: bounds.durable_offset,
                record_count: records.record_count(),
                append_time: self.log.append_time().unwrap_or_default(),
                is_control: false,
                payload: records.into_payload().into(),
            };
            let _ = self.stepped.apply(id, &[batch]);
        }
    }

    /// Counts what one read of a partition gives; whether there was anything.
    pub(crate) fn count(&mut self, id: PartitionId) -> Result<bool, PortError> {
        let next = self.stepped.next_offset(id);
        if next >= self.log.bounds(id).durable_offset {
            return Ok(false);
        }
        let batches = block_on(self.log.read(id, next, READ_BYTES))?;
        self.stepped.apply(id, &batches)?;
        Ok(true)
    }

    /// The table that is to be flushed next, if anything was counted.
    pub(crate) fn freeze(&self, id: PartitionId) -> Option<Arc<Frozen>> {
        self.stepped.freeze(id)
    }

    /// Flushes a partition.
    pub(crate) fn flush(&self, id: PartitionId) -> Result<(), PortError> {
        self.stepped.flush(id)
    }

    /// Makes one cell of a partition's old minutes.
    pub(crate) fn fold(&self, id: PartitionId) -> Result<(), PortError> {
        self.stepped.fold(id)
    }

    /// The first offset of a partition that is not counted.
    pub(crate) fn next_offset(&self, id: PartitionId) -> Offset {
        self.stepped.next_offset(id)
    }

    /// Whether questions are answered: the log was replayed to the end it had at start.
    pub(crate) fn is_ready(&self) -> bool {
        let ends = (0..).map(PartitionId).zip(&self.replay_end);
        ends.into_iter().all(|(id, end)| self.next_offset(id) >= *end)
    }

    /// An item's total and its series as fine as it is kept, and the time up to which they are said
    /// to be complete.
    pub(crate) fn question(&self, item: &str) -> Result<(Numbers, TimestampMs), QueryError> {
        let counted = self.query.count(item, EVENT_TYPE, None)?;
        let series = self.query.series(item, EVENT_TYPE, ALL_EVENTS, Granularity::Minute)?;
        let points = series.points.into_iter().filter(|(_, summary)| summary.count > 0);
        let minutes = points.map(|(start, summary)| (start.minute(), summary)).collect();
        Ok((Numbers { total: counted.summary, minutes }, counted.quality.as_of))
    }

    /// What an item has in a range, and the range that was covered.
    pub(crate) fn count_in(
        &self,
        item: &str,
        range: TimeRange,
    ) -> Result<(TimeRange, Summary), QueryError> {
        let counted = self.query.count(item, EVENT_TYPE, Some(range))?;
        Ok((counted.range.unwrap_or(range), counted.summary))
    }

    /// The sum of the parts that are told of an item's numbers in a range, or of its total.
    pub(crate) fn explained(
        &self,
        item: &str,
        range: Option<TimeRange>,
    ) -> Result<Summary, QueryError> {
        let explained = self.query.explain(item, EVENT_TYPE, range)?;
        let parts = explained.partitions.iter().flat_map(|partition| {
            let rows = partition.rows.iter().map(|part| &part.summary);
            rows.chain(partition.memory.iter().map(|part| &part.summary))
        });
        Ok(parts.chain([&explained.cold]).sum())
    }
}

/// What is known of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// From the row of the total.
    pub(crate) total: Summary,
    /// From the rows of hours and days, by the first minute of what they count.
    pub(crate) minutes: std::collections::BTreeMap<Minute, Summary>,
}

/// What store and cold files alone know of an item.
pub(crate) fn stored(
    snapshot: &dyn CounterSnapshot,
    cold: &dyn ColdCounters,
    id: PartitionId,
    item: &str,
) -> Result<Numbers, PortError> {
    let mut numbers = Numbers::default();
    let key = RowKey::Total { item, event_type: EVENT_TYPE };
    for row in snapshot.get(id, &[key])?.iter().flatten() {
        numbers.total.add(&row.summary());
    }
    let until = snapshot.cold_until()?;
    cold.scan_item(item, EVENT_TYPE, 0..until.0, &mut |day, summary| {
        numbers.minutes.entry(day.minute()).or_default().add(summary);
    })?;
    snapshot.scan_item(id, item, EVENT_TYPE, until.0 * 24..u32::MAX, &mut |hour, row| {
        for cell in &row.cells {
            let minute = if cell.slot == Cell::WHOLE { 0 } else { cell.slot };
            numbers.minutes.entry(hour.minute(minute)).or_default().add(&cell.summary);
        }
    })?;
    for day in snapshot.days(id, 0..u32::MAX)? {
        let key = RowKey::Day { day, event_type: EVENT_TYPE, item };
        for row in snapshot.get(id, &[key])?.iter().flatten() {
            numbers.minutes.entry(day.minute()).or_default().add(&row.summary());
        }
    }
    Ok(numbers)
}

/// No row of an item is stamped past its checkpoint.
pub(crate) fn check_stamp(
    snapshot: &dyn CounterSnapshot,
    id: PartitionId,
    item: &str,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let key = RowKey::Total { item, event_type: EVENT_TYPE };
    for row in snapshot.get(id, &[key])?.iter().flatten() {
        let (row, checkpoint) = (row.stamp.next_offset, checkpoint.next_offset);
        ensure!(row <= checkpoint, "a row at {row} is ahead of the checkpoint at {checkpoint}");
    }
    Ok(())
}

/// Looks whether an answer is there.
pub(crate) fn poll(pending: &mut Pending) -> Option<Answer> {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn settings(machine: &Machine) -> LogSettings {
    let mut settings = LogSettings::new(PARTITIONS);
    // Small enough to roll over, to let go of segments and to read from the disk now and then.
    settings.codec = machine.codec;
    settings.segment_bytes = 9 << 10;
    settings.batch_bytes_max = 2 << 10;
    settings.tail_bytes_max = 1 << 10;
    settings.retention_bytes = Some(9 << 10);
    settings.dedup_minutes = machine.window_minutes;
    settings.counters = machine.retention;
    settings
}

/// The planted bugs of a start: a counting state that is not what the checkpoint says.
fn misremember(
    machine: &Machine,
    log: &EmbeddedLog,
    id: PartitionId,
    mut checkpoint: Checkpoint,
) -> Result<Option<Counting>, PortError> {
    match machine.bug {
        Some(Bug::ForgetRebuild | Bug::ForgetSources) => {}
        Some(Bug::CheckpointInclusive) => {
            checkpoint.next_offset = Offset(checkpoint.next_offset.0.saturating_sub(1));
        }
        _ => return Ok(None),
    }
    let mut counting = Counting::new(Some(&checkpoint), machine.window_minutes, HASH_KEYS);
    if machine.bug != Some(Bug::ForgetSources) {
        let sources = machine.store.snapshot()?.sources(id)?;
        counting = counting.with_sources(Arc::new(SourceBook::restored(sources)));
    }
    let mut from = checkpoint.window_start_offset;
    while from < checkpoint.next_offset && machine.bug != Some(Bug::ForgetRebuild) {
        for batch in block_on(log.read(id, from, READ_BYTES))? {
            counting.rebuild(&batch, from);
            from = from.max(batch.next_offset());
        }
    }
    Ok(Some(counting))
}

/// The time that the log would give a record now; none while it does not believe its clock.
pub(crate) fn log_time(process: &Process) -> Option<TimestampMs> {
    process.log.append_time().ok()
}
