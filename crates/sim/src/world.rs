//! The simulated world: machine, process, network and clients, with what must hold whenever a
//! process starts, fails or dies.

use std::sync::Arc;

use adapters::embedded::log::Codec;
use adapters::embedded::mem_disk::{DiskFault, MemDisk};
use anyhow::{Result, bail, ensure};
use engine::ports::{CounterStore, ErrorKind, EventLog, PortError};
use engine::processor::Frozen;
use futures::executor::block_on;
use model::bucket::{DAY_MS, HOUR_MS};
use model::{Day, Event, Granularity, Offset, PartitionId, Retention, RoutingTable, TimestampMs};

use crate::bug::Bug;
use crate::chance::Chance;
use crate::clock::{BEGIN_MS, SimClock};
use crate::damage::Damage;
use crate::fault::Fault;
use crate::oracle::{Oracle, Sent};
use crate::process::{
    EVENT_AGE_MS, EVENT_TYPE, Machine, Numbers, PARTITIONS, Pending, Process, check_stamp,
    log_time, stored,
};
use crate::spool::Spool;
use crate::store::SimStore;
use crate::tally::Tally;
use crate::trace::Trace;

/// Number of items that are counted.
pub(crate) const ITEMS: usize = 6;

/// Number of clients that stamp what they send.
const SPOOLS: usize = 3;

/// A delivery that waits for its answer.
pub(crate) struct Delivery {
    /// Which one.
    pub(crate) number: u64,
    /// The events in it.
    pub(crate) events: Vec<usize>,
    /// What will become of it.
    pub(crate) pending: Pending,
}

/// See the module.
pub(crate) struct World {
    /// What outlives processes.
    pub(crate) machine: Machine,
    /// The only source of chance.
    pub(crate) chance: Chance,
    /// The process, while one runs.
    pub(crate) process: Option<Process>,
    /// Requests on their way.
    pub(crate) network: Vec<Vec<usize>>,
    /// Clients that stamp what they send.
    pub(crate) spools: Vec<Spool>,
    /// Deliveries that wait for an answer.
    pub(crate) waiting: Vec<Delivery>,
    /// The judge.
    pub(crate) oracle: Oracle,
    /// Faults that may happen in this run.
    pub(crate) enabled: Vec<Fault>,
    /// How often each fault was injected.
    pub(crate) faults: Tally<Fault>,
    /// What was done.
    pub(crate) trace: Trace,
    /// Tables of processors that died before they flushed them.
    pub(crate) late: Vec<(PartitionId, Arc<Frozen>)>,
    /// Whether such a table was flushed while this process runs.
    pub(crate) is_usurped: bool,
    /// The bit that is flipped now.
    pub(crate) damage: Option<Damage>,
    /// The room that a full disk is to have again.
    pub(crate) kept_free: Option<u64>,
    /// Newest time that the log was seen to give.
    pub(crate) log_time: TimestampMs,
    /// Number of deliveries.
    pub(crate) deliveries: u64,
    /// Number of processes that ended.
    pub(crate) restarts: u64,
    /// Damage that a process noticed and named.
    pub(crate) damage_named: u64,
    /// Answers by the granularity that was still kept.
    pub(crate) answers: Tally<Granularity>,
    /// The first day that is not in cold files.
    pub(crate) cold_until: Day,
    struck_at_start: u64,
}

impl World {
    /// A world that nothing has happened in.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_echoing: bool) -> Self {
        let mut chance = Chance::new(seed);
        let window_minutes = 1 + chance.below(3) as u32;
        let retention = retention(&mut chance);
        let codecs = [Codec::None, Codec::Lz4, Codec::Zstd];
        let machine = Machine {
            disk: MemDisk::new(chance.draw()),
            store: Arc::new(SimStore::new(bug)),
            cold: Arc::default(),
            clock: Arc::new(SimClock::default()),
            window_minutes,
            retention,
            codec: codecs[chance.index(3)],
            slow_ms: 0,
            bug,
        };
        // Some runs know few kinds of faults, so that one does not hide another.
        let share = 1 + chance.below(4);
        let enabled = Fault::ALL.into_iter().filter(|_| chance.below(4) < share).collect();
        Self {
            machine,
            chance,
            process: None,
            network: Vec::new(),
            spools: (0..SPOOLS).map(Spool::new).collect(),
            waiting: Vec::new(),
            oracle: Oracle::new(PARTITIONS, window_minutes, retention),
            enabled,
            faults: Tally::default(),
            trace: Trace::new(is_echoing),
            late: Vec::new(),
            is_usurped: false,
            damage: None,
            kept_free: None,
            log_time: TimestampMs(BEGIN_MS),
            deliveries: 0,
            restarts: 0,
            damage_named: 0,
            answers: Tally::default(),
            cold_until: Day::default(),
            struck_at_start: 0,
        }
    }

    /// Whether a fault may happen, and does once in `n` times; notes it.
    pub(crate) fn happens(&mut self, fault: Fault, n: u64) -> bool {
        let happens = self.enabled.contains(&fault) && self.chance.one_in(n);
        if happens {
            self.note_fault(fault);
        }
        happens
    }

    /// Counts a fault.
    pub(crate) fn note_fault(&mut self, fault: Fault) {
        self.faults.add(fault, 1);
        self.trace.note(format!("fault {fault:?}"));
    }

    fn struck(&self) -> u64 {
        self.machine.disk.struck().values().sum()
    }

    /// Whether the disk failed an operation of this process.
    pub(crate) fn was_struck(&self) -> bool {
        self.struck() > self.struck_at_start
    }

    /// Tries to start a process; then everything durable must be there as it was.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.struck_at_start = self.struck();
        self.is_usurped = false;
        match Process::start(&self.machine) {
            Ok(process) => {
                self.process = Some(process);
                self.trace.note("started".to_owned());
                self.verify()
            }
            Err(error) => self.fail("start", &error),
        }
    }

    /// Reads the whole log and compares it with what was seen of it before.
    fn verify(&mut self) -> Result<()> {
        for id in (0..PARTITIONS).map(PartitionId) {
            let Some(process) = &self.process else { return Ok(()) };
            let bounds = process.log.bounds(id);
            let seen = self.oracle.durable(usize::from(id.0));
            ensure!(
                bounds.durable_offset.0 >= seen,
                "partition {id} ended at offset {seen} and now at {}",
                bounds.durable_offset
            );
            self.observe(id, bounds.start_offset)?;
        }
        if self.process.is_some() {
            self.oracle.check_acknowledged()?;
        }
        Ok(())
    }

    /// Shows the oracle what the log holds from an offset on.
    pub(crate) fn observe(&mut self, id: PartitionId, mut from: Offset) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let end = process.log.bounds(id).durable_offset;
        while from < end {
            match block_on(process.log.read(id, from, 16 << 10)) {
                Ok(batches) => {
                    for batch in batches {
                        self.oracle.observe(usize::from(id.0), &batch)?;
                        from = batch.next_offset();
                    }
                }
                Err(error) => return self.fail("read", &error),
            }
        }
        Ok(())
    }

    /// A process failed. That must have a reason, damage must be named; then the process ends.
    pub(crate) fn fail(&mut self, act: &str, error: &PortError) -> Result<()> {
        self.trace.note(format!("{act} failed: {:?} {error}", error.kind));
        let disk = &self.machine.disk;
        let is_explained = match error.kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded => {
                disk.is_down()
                    || self.was_struck()
                    || self.kept_free.is_some()
                    || self.machine.store.is_away()
            }
            ErrorKind::Conflict => self.is_usurped,
            ErrorKind::Corrupt => self.damage.as_ref().is_some_and(|d| d.is_named_by(error)),
            ErrorKind::Invalid => false,
        };
        if !is_explained {
            bail!("{act} failed for no reason: {:?}: {error}: {:?}", error.kind, error.source);
        }
        if error.kind == ErrorKind::Corrupt
            && let Some(damage) = self.damage.take()
        {
            damage.undo(&self.machine.disk);
            self.damage_named += 1;
        }
        self.crash(self.machine.disk.is_down());
        Ok(())
    }

    /// The process dies, with the machine's power or without.
    pub(crate) fn crash(&mut self, is_power: bool) {
        self.trace.note(format!("ends, power {is_power}"));
        if let Some(process) = self.process.take() {
            self.restarts += 1;
            for id in (0..PARTITIONS).map(PartitionId) {
                let frozen = process.freeze(id);
                self.late.extend(frozen.map(|frozen| (id, frozen)));
            }
            process.kill();
        }
        // Nobody hears what became of these.
        self.waiting.clear();
        let excess = self.late.len().saturating_sub(8);
        self.late.drain(..excess);
        match is_power {
            true => self.machine.disk.power_cycle(),
            false => self.machine.disk.restart(),
        }
    }

    /// The power fails where the disk went down within an operation.
    pub(crate) fn notice_crash(&mut self) {
        if self.machine.disk.is_down() {
            self.note_fault(Fault::CrashAtOperation);
            self.crash(true);
        }
    }

    /// The time that the log would give a record now.
    pub(crate) fn log_now(&mut self) -> TimestampMs {
        let now = self.process.as_ref().and_then(log_time);
        self.log_time = self.log_time.max(now.unwrap_or_default());
        self.log_time
    }

    /// Rows and checkpoint of a snapshot tell of the same stretch of the log, which is durable.
    pub(crate) fn check_store(&mut self) -> Result<()> {
        if self.machine.store.is_away() {
            return Ok(());
        }
        let snapshot = self.machine.store.snapshot()?;
        for at in 0..ITEMS {
            let item = item_name(at);
            let id = partition_of(&item);
            if self.machine.store.is_half_written(id) {
                // Some rows are ahead of the checkpoint; what questions make of them is checked there.
                continue;
            }
            let checkpoint = snapshot.checkpoint(id)?.unwrap_or_default();
            let (partition, next) = (usize::from(id.0), checkpoint.next_offset.0);
            let durable = self.oracle.durable(partition);
            ensure!(next <= durable, "checkpoint {next} is ahead of the log at {durable}");
            let numbers = stored(&*snapshot, &*self.machine.cold, id, &item)?;
            let minutes = self.oracle.minutes(partition, next, &item);
            let total = minutes.values().sum();
            let horizons = self.oracle.horizons(partition, next);
            let (minutes, numbers) = (
                horizons.coarsened(&minutes),
                Numbers { minutes: horizons.coarsened(&numbers.minutes), ..numbers },
            );
            ensure!(
                (numbers.total, &numbers.minutes) == (total, &minutes),
                "the store has {numbers:?} of {item} at checkpoint {next}, not {total:?} {minutes:?}"
            );
            check_stamp(&*snapshot, id, &item, &checkpoint)?;
        }
        Ok(())
    }

    /// Thinks of a new event; its number.
    pub(crate) fn invent(&mut self) -> usize {
        let number = self.oracle.sent.len();
        // Neighbours share an id: their items tell them apart.
        let filler = "x".repeat(number / 2 * 7 % 32);
        let time = BEGIN_MS - 1 - self.chance.below(EVENT_AGE_MS as u64) as i64;
        let micros = self.chance.below(1 << 40) as i64 - (1 << 39);
        let value =
            self.chance.one_in(2).then(|| model::Value::from_micros(micros).expect("small"));
        let id = format!("{filler}-{}", number / 2);
        self.oracle.sent.push(Sent::new(id, item_name(number % ITEMS), TimestampMs(time), value));
        number
    }

    /// An event as it goes over the network.
    pub(crate) fn event(&self, number: usize, delivery: u64) -> Event<'static> {
        let sent = &self.oracle.sent[number];
        Event {
            id: sent.id.clone().into(),
            item: sent.item.clone().into(),
            event_type: EVENT_TYPE.into(),
            time: sent.time,
            value: sent.value,
            attributes: vec![
                ("event".into(), number.to_string().into()),
                ("delivery".into(), delivery.to_string().into()),
            ],
        }
    }

    /// Number of records in segments that are no longer kept.
    pub(crate) fn let_go(&self) -> u64 {
        let start = |id| {
            let log = self.process.as_ref().map(|process| &process.log);
            log.map_or(0, |log| log.bounds(PartitionId(id)).start_offset.0)
        };
        (0..PARTITIONS).map(start).sum()
    }

    /// Adds what the disk counted itself.
    pub(crate) fn count_disk_faults(&mut self) {
        for (fault, times) in self.machine.disk.struck() {
            let fault = match fault {
                DiskFault::FailedSync => Fault::FailedSync,
                DiskFault::FailedWrite => Fault::FailedWrite,
                DiskFault::ShortWrite => Fault::ShortWrite,
                DiskFault::FailedRead => Fault::FailedRead,
            };
            self.faults.add(fault, times);
        }
    }
}

/// Often one whose horizons move in the middle of a run.
fn retention(chance: &mut Chance) -> Retention {
    if chance.one_in(4) {
        return Retention::FOREVER;
    }
    let since_midnight = BEGIN_MS % DAY_MS;
    let minute_ms =
        since_midnight + chance.below(3) as i64 * HOUR_MS + chance.below(120_000) as i64;
    let longer_ms = if chance.one_in(2) { 60_000 } else { 3 * HOUR_MS as u64 };
    let hour_ms = minute_ms + chance.below(longer_ms) as i64;
    Retention::new(minute_ms, hour_ms).expect("hours are kept longer")
}

/// The name of an item.
pub(crate) fn item_name(at: usize) -> String {
    format!("item-{at}")
}

/// The partition that an item is counted in.
pub(crate) fn partition_of(item: &str) -> PartitionId {
    RoutingTable::first(PARTITIONS).route_first(item)
}
