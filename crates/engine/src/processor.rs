//! One thread of control per partition: pulls the log, deduplicates, counts; a second one flushes.

mod correct;
mod counting;
mod flush;
mod folding;
mod memory;
mod partition;
#[cfg(feature = "conformance")]
mod stepped;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use model::{BulkEntry, PartitionId};
use parking_lot::Mutex;

pub use counting::{Counting, CountingError, Tally};
pub use flush::flush;
pub use memory::{Beside, Frozen, Memory, SourceMarks, TableTotal, Tables};
pub use partition::PartitionStatus;
#[cfg(feature = "conformance")]
pub use stepped::Stepped;

use crate::admission::Admission;
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
}

/// The processors of all partitions, each on threads of its own.
pub struct Processors {
    pub(crate) ports: Arc<Ports>,
    pub(crate) partitions: Growing<Arc<Partition>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        let unhurried = Mutex::new(());
        let processors = Self::open(Ports { log, store, clock, admission, settings, unhurried })?;
        for partition in processors.partitions.iter() {
            processors.start_threads(partition)?;
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
            let snapshot = self.ports.store.snapshot()?;
            let partition =
                Arc::new(Partition::open_added(&self.ports, &*snapshot, PartitionId(id))?);
            self.start_threads(&partition)?;
            if self.partitions.push(partition).is_err() {
                return Err(PortError::new(ErrorKind::Invalid, "there are no such partitions"));
            }
        }
        Ok(())
    }

    fn start_threads(&self, partition: &Arc<Partition>) -> Result<(), PortError> {
        for (name, body) in
            [("count", Partition::run as fn(&Partition)), ("flush", Partition::run_flushes)]
        {
            let owned = Arc::clone(partition);
            let thread = std::thread::Builder::new()
                .name(format!("{name}-{}", partition.id))
                .spawn(move || body(&owned))
                .map_err(|error| {
                    let context = "a processor thread cannot be started";
                    PortError::caused(ErrorKind::Unavailable, context, error)
                })?;
            self.threads.lock().push(thread);
        }
        Ok(())
    }

    /// Finds out where each partition goes on; nothing runs yet.
    fn open(ports: Ports) -> Result<Self, PortError> {
        let ports = Arc::new(ports);
        let snapshot = ports.store.snapshot()?;
        let partitions = (0..ports.log.partitions())
            .map(|id| Partition::open(&ports, &*snapshot, PartitionId(id)).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let partitions = Growing::of_partitions(partitions);
        Ok(Self { ports, partitions, threads: Mutex::default(), is_stopped: Mutex::new(false) })
    }

    /// How far each partition is.
    pub fn status(&self) -> Vec<PartitionStatus> {
        self.partitions.iter().map(|partition| partition.status()).collect()
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
