//! One thread of control per partition: pulls the log, deduplicates, counts; a second one flushes.

mod correct;
mod corrections;
mod counting;
mod flush;
mod folding;
mod follow;
mod group;
mod known;
mod leaders;
mod memory;
mod partition;
mod reading;
#[cfg(feature = "conformance")]
mod stepped;
#[cfg(feature = "conformance")]
mod stepped_group;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use model::{BulkEntry, PartitionId};
use parking_lot::Mutex;

pub use counting::{Counting, CountingError, Tally};
pub use flush::flush;
pub use group::Group;
pub use known::KnownRows;
pub use leaders::Leaders;
pub(crate) use leaders::{Begun, LEADERS};
pub use memory::{Beside, Frozen, Memory, SourceMarks, TableTotal, Tables};
pub use partition::PartitionStatus;
pub use reading::{ReadRow, with_hours};
#[cfg(feature = "conformance")]
pub use stepped::Stepped;
#[cfg(feature = "conformance")]
pub use stepped_group::{SteppedFollower, SteppedGroup};
pub use tell::tell_settings;

use crate::admission::Admission;
use crate::durations::{DurationFigures, Durations};
use crate::growing::Growing;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, PortError};
pub(crate) use partition::Partition;

/// When memory tables are flushed.
#[derive(Clone, Copy, Debug)]
pub struct ProcessorSettings {
    /// Longest time between flushes, in milliseconds.
    pub flush_interval_ms: u64,
    /// A memory table with so many cells is flushed at once.
    pub table_cells_max: usize,
    /// Memory for rows of one partition that a flush need not ask the store for, in bytes.
    pub known_bytes_max: usize,
    /// Seeds of the hash functions: random in production, so that no client can choose collisions.
    pub hash_keys: (u64, u64),
    /// Length of the dedup window where the log does not say yet.
    pub dedup_minutes: u32,
}

/// What all partitions' threads share.
pub(crate) struct Ports {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn CounterStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) settings: ProcessorSettings,
    /// Held by a flush that has time: one partition after the other leaves a core to questions.
    pub(crate) unhurried: Mutex<()>,
    /// Of flushes that were done.
    pub(crate) flush_durations: Durations,
}

impl Ports {
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
    ) -> Self {
        let (unhurried, flush_durations) = (Mutex::new(()), Durations::default());
        Self { log, store, clock, admission, settings, unhurried, flush_durations }
    }
}

/// The processors of all partitions, each on threads of its own.
pub struct Processors {
    pub(crate) ports: Arc<Ports>,
    pub(crate) partitions: Growing<Arc<Partition>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Where others count.
    following: Option<follow::Following>,
    /// Held while partitions are added: none is any more once stopping was asked for.
    is_stopped: Mutex<bool>,
}

impl Processors {
    /// Starts the threads of each partition. They rebuild the dedup window from the log and go on
    /// counting at the checkpoint; [`crate::query::Query::ready`] says when they have caught up.
    ///
    /// # Errors
    /// When log and store do not belong together, or a thread cannot be started.
    pub fn start(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
    ) -> Result<Arc<Self>, PortError> {
        let processors = Self::open(Ports::new(log, store, clock, admission, settings))?;
        for partition in processors.partitions.iter() {
            processors.threads.lock().extend(spawn(partition)?);
        }
        Ok(Arc::new(processors))
    }

    /// Starts the threads of partitions that the log has been given since; well where there are
    /// none. Questions add them from now on.
    ///
    /// # Errors
    /// When a thread cannot be started, or the store cannot be read; a repeat goes on.
    pub fn grow(&self) -> Result<(), PortError> {
        let is_stopped = self.is_stopped.lock();
        if *is_stopped {
            return Err(PortError::new(ErrorKind::Unavailable, "the server is stopping"));
        }
        for id in self.partitions.len() as u16..self.ports.log.partitions() {
            self.ports.admission.grow(id + 1);
            let claim = self.ports.store.claim(PartitionId(id))?;
            let snapshot = self.ports.store.snapshot()?;
            let added = Partition::open_added(&self.ports, claim, &*snapshot, PartitionId(id))?;
            let partition = Arc::new(added);
            self.threads.lock().extend(spawn(&partition)?);
            if self.partitions.push(partition).is_err() {
                return Err(PortError::new(ErrorKind::Invalid, "there are no such partitions"));
            }
        }
        Ok(())
    }

    /// Finds out where each partition goes on; nothing runs yet.
    fn open(ports: Ports) -> Result<Self, PortError> {
        let ports = Arc::new(ports);
        let ids = || (0..ports.log.partitions()).map(PartitionId);
        // From now on nobody else moves what the snapshot sees.
        let claims: Vec<_> = ids().map(|id| ports.store.claim(id)).collect::<Result<_, _>>()?;
        let snapshot = ports.store.snapshot()?;
        let partitions = ids()
            .zip(claims)
            .map(|(id, claim)| Partition::open(&ports, claim, &*snapshot, id).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(ports, partitions, Vec::new(), None))
    }

    fn of(
        ports: Arc<Ports>,
        partitions: Vec<Arc<Partition>>,
        threads: Vec<JoinHandle<()>>,
        following: Option<follow::Following>,
    ) -> Self {
        Self {
            ports,
            partitions: Growing::of_partitions(partitions),
            threads: Mutex::new(threads),
            following,
            is_stopped: Mutex::new(false),
        }
    }

    /// Whether events may be accepted and questions answered, as far as the processors know.
    pub fn admission(&self) -> Arc<Admission> {
        self.ports.admission.clone()
    }

    /// How far each partition is.
    pub fn status(&self) -> Vec<PartitionStatus> {
        self.partitions.iter().map(|partition| partition.status()).collect()
    }

    /// How long flushes took, of all partitions together.
    pub fn flush_durations(&self) -> DurationFigures {
        self.ports.flush_durations.figures()
    }

    /// The files that the counted part of the log names, oldest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        // Memory first: what is flushed in between is in the store then, and not in neither.
        let look = |tables: &Tables| tables.bulk().cloned().collect::<Vec<_>>();
        let counted: Vec<_> = self.partitions.iter().flat_map(|p| p.memory.look(look)).collect();
        let stored = self.ports.store.snapshot()?.bulk()?;
        let by_id = stored.into_iter().chain(counted).map(|entry| (entry.object.id, entry));
        let mut entries: Vec<_> = by_id.collect::<BTreeMap<_, _>>().into_values().collect();
        entries.sort_by_key(|entry| entry.offset);
        Ok(entries)
    }

    /// Counts to the end of the log, flushes and stops the threads. Call after the last append;
    /// a second call does nothing.
    ///
    /// # Errors
    /// When a partition had stopped on an error before: its events are in the log still.
    pub fn stop(&self) -> Result<(), PortError> {
        *self.is_stopped.lock() = true;
        self.partitions.iter().for_each(|partition| partition.ask_to_stop());
        self.join()
    }

    /// Flushes what is counted and stops the threads, wherever in the log they are: for a log that
    /// lies elsewhere, which may not answer, or go on for ever.
    ///
    /// # Errors
    /// As of [`Self::stop`].
    pub fn leave(&self) -> Result<(), PortError> {
        *self.is_stopped.lock() = true;
        self.partitions.iter().for_each(|partition| partition.leave(false));
        self.join()
    }

    fn join(&self) -> Result<(), PortError> {
        self.following.iter().for_each(|following| following.end());
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                let context =
                    "a processor thread ended in a panic; its events are in the log still";
                return Err(PortError::new(ErrorKind::Unavailable, context));
            }
        }
        match self.ports.admission.stopped_partition() {
            None => Ok(()),
            Some(id) => {
                let context =
                    format!("partition {id} had stopped; its events are in the log still");
                Err(PortError::new(ErrorKind::Unavailable, context))
            }
        }
    }
}

/// Starts the threads of a partition.
fn spawn(partition: &Arc<Partition>) -> Result<Vec<JoinHandle<()>>, PortError> {
    let bodies = [
        ("count", Partition::run as fn(&Partition)),
        ("flush", Partition::run_flushes),
        ("read", Partition::run_reading),
    ];
    let start = |(name, body): (&str, fn(&Partition))| {
        let owned = Arc::clone(partition);
        let thread = std::thread::Builder::new().name(format!("{name}-{}", partition.id));
        thread.spawn(move || body(&owned)).map_err(|error| {
            let context = "a processor thread cannot be started";
            PortError::caused(ErrorKind::Unavailable, context, error)
        })
    };
    bodies.into_iter().map(start).collect()
}
