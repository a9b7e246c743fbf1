//! Processors without threads, driven a step at a time: for simulations, where the same steps must
//! give the same bytes. The steps are those that the threads take.

use std::sync::Arc;

use bytes::Bytes;
use model::{Batch, Offset, PartitionId};

use super::{Counting, Frozen, Partition, Ports, ProcessorSettings, Processors};
use crate::admission::Admission;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, PortError};

/// See the module.
pub struct Stepped {
    processors: Arc<Processors>,
    countings: Vec<Counting>,
}

impl Stepped {
    /// Like [`Processors::start`], and rebuilds the dedup windows at once.
    ///
    /// # Errors
    /// When log and store do not belong together, or either fails.
    pub fn open(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
    ) -> Result<Self, PortError> {
        let ports = Ports::new(log, store, clock, admission, settings);
        let processors = Arc::new(Processors::open(ports)?);
        let countings = processors.partitions.iter().map(|partition| partition.recover());
        let countings = countings.collect::<Result<_, _>>()?;
        Ok(Self { processors, countings })
    }

    /// Goes on with the partitions that the log has been given since, like [`Processors::grow`].
    ///
    /// # Errors
    /// When log and store do not belong together, or either fails.
    pub fn grow(&mut self) -> Result<(), PortError> {
        let Processors { ports, partitions, .. } = &*self.processors;
        for id in partitions.len() as u16..ports.log.partitions() {
            ports.admission.grow(id + 1);
            let snapshot = ports.store.snapshot()?;
            let claim = ports.store.claim(PartitionId(id))?;
            let added = Partition::open_added(ports, claim, &*snapshot, PartitionId(id))?;
            let partition = Arc::new(added);
            self.countings.push(partition.recover()?);
            if partitions.push(partition).is_err() {
                return Err(PortError::new(ErrorKind::Invalid, "there are no such partitions"));
            }
        }
        Ok(())
    }

    /// What [`crate::query::Query`] is made of.
    pub fn processors(&self) -> Arc<Processors> {
        Arc::clone(&self.processors)
    }

    /// Puts another state in place of a partition's own: a way to plant a bug.
    pub fn replace(&mut self, id: PartitionId, counting: Counting) {
        self.countings[usize::from(id.0)] = counting;
    }

    /// The first offset of a partition that is not counted.
    pub fn next_offset(&self, id: PartitionId) -> Offset {
        self.countings[usize::from(id.0)].next_offset()
    }

    /// Counts batches of a partition that come next.
    ///
    /// # Errors
    /// When they do not come next.
    pub fn apply(&mut self, id: PartitionId, batches: &[Batch<Bytes>]) -> Result<(), PortError> {
        let at = usize::from(id.0);
        self.processors.partitions[at].apply(&mut self.countings[at], batches)
    }

    /// The table that a partition flushes next, if it counted anything.
    pub fn freeze(&self, id: PartitionId) -> Option<Arc<Frozen>> {
        self.processors.partitions[usize::from(id.0)].memory.freeze_now()
    }

    /// Makes one cell of a partition's old minutes, a turn of it.
    ///
    /// # Errors
    /// The store's.
    pub fn fold(&self, id: PartitionId) -> Result<(), PortError> {
        self.processors.partitions[usize::from(id.0)].fold_once().map(|_| ())
    }

    /// Flushes what a partition has counted, and lets go of what the log need not keep.
    ///
    /// # Errors
    /// The store's; what was to be flushed stays frozen.
    pub fn flush(&self, id: PartitionId) -> Result<(), PortError> {
        let Some(frozen) = self.freeze(id) else { return Ok(()) };
        let partition = &self.processors.partitions[usize::from(id.0)];
        partition.flush(&frozen)?;
        partition.flushed(&frozen.checkpoint);
        Ok(())
    }
}
