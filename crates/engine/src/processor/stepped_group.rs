//! A member of a group, and one who only reads, without threads: each is driven a step at a time, for
//! simulations. The steps are those that the threads of [`super::Group`] and [`Processors::follow`] take.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use model::{Batch, Offset, PartitionId, Retention};
use parking_lot::Mutex;

use super::{Counting, Partition, Ports, ProcessorSettings, Processors, follow, group};
use crate::admission::Admission;
use crate::ports::{Clock, CounterStore, ErrorKind, EventLog, PortError};

/// See the module.
pub struct SteppedGroup {
    ports: Arc<Ports>,
    retention: Retention,
    mine: BTreeMap<PartitionId, Mine>,
}

/// A partition that is open.
struct Mine {
    partition: Partition,
    counting: Counting,
}

impl SteppedGroup {
    /// Counts nothing yet, like [`super::Group::new`].
    pub fn new(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
        retention: Retention,
    ) -> Self {
        let ports = Arc::new(Ports::new(log, store, clock, admission, settings));
        Self { ports, retention, mine: BTreeMap::new() }
    }

    /// The partitions that are open.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.mine.keys().copied()
    }

    /// A partition is assigned and opened, with its dedup window; one that is open stays as it is.
    ///
    /// # Errors
    /// The log's and the store's; it can be tried again after `Unavailable`.
    pub fn assigned(&mut self, id: PartitionId) -> Result<(), PortError> {
        if !self.mine.contains_key(&id) {
            let partition = group::begin(&self.ports, id, self.retention, || false)?;
            let counting = partition.recover()?;
            self.mine.insert(id, Mine { partition, counting });
        }
        Ok(())
    }

    /// Puts another state in place of an open partition's own: a way to plant a bug.
    pub fn replace(&mut self, id: PartitionId, counting: Counting) {
        if let Some(mine) = self.mine.get_mut(&id) {
            mine.counting = counting;
        }
    }

    /// The first offset of a partition that is not counted; none where it is not open.
    pub fn next_offset(&self, id: PartitionId) -> Option<Offset> {
        self.mine.get(&id).map(|mine| mine.counting.next_offset())
    }

    /// Counts batches of an open partition that come next.
    ///
    /// # Errors
    /// When they do not come next, or it is not open.
    pub fn apply(&mut self, id: PartitionId, batches: &[Batch<Bytes>]) -> Result<(), PortError> {
        let mine = self.mine.get_mut(&id).ok_or_else(|| not_open(id))?;
        mine.partition.apply(&mut mine.counting, batches)
    }

    /// Freezes what a partition has counted; whether it has anything to flush.
    pub fn freeze(&self, id: PartitionId) -> bool {
        self.mine.get(&id).is_some_and(|mine| mine.partition.memory.freeze_now().is_some())
    }

    /// Flushes one table of an open partition, where there is anything; whether there was.
    ///
    /// # Errors
    /// The store's; what was to be flushed stays frozen.
    pub fn flush(&self, id: PartitionId) -> Result<bool, PortError> {
        let mine = self.mine.get(&id).ok_or_else(|| not_open(id))?;
        let Some(frozen) = mine.partition.memory.freeze_now() else { return Ok(false) };
        mine.partition.flush(&frozen)?;
        mine.partition.flushed(&frozen.checkpoint);
        Ok(true)
    }

    /// A partition goes to somebody else: what was counted is flushed, and let go of in any case.
    ///
    /// # Errors
    /// Why not all was flushed. Whoever has the partition next counts it again.
    pub fn revoked(&mut self, id: PartitionId) -> Result<(), PortError> {
        let flushed = loop {
            match self.mine.contains_key(&id).then(|| self.flush(id)) {
                Some(Ok(true)) => {}
                Some(Err(error)) => break Err(error),
                Some(Ok(false)) | None => break Ok(()),
            }
        };
        self.lost(id);
        flushed
    }

    /// A partition went to somebody else: nothing of it is flushed.
    pub fn lost(&mut self, id: PartitionId) {
        self.mine.remove(&id);
    }
}

/// Who answers questions from what others have flushed.
pub struct SteppedFollower {
    processors: Arc<Processors>,
    partitions: Vec<Arc<Partition>>,
    seen: Mutex<Vec<Option<Offset>>>,
}

impl SteppedFollower {
    /// Like [`Processors::follow`], which it is without its thread.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
        settings: ProcessorSettings,
    ) -> Result<Self, PortError> {
        let (ports, partitions) = follow::open(log, store, clock, settings)?;
        let seen = Mutex::new(vec![None; partitions.len()]);
        let followed = partitions.clone();
        let processors = Arc::new(Processors::of(ports, partitions, Vec::new(), None));
        Ok(Self { processors, partitions: followed, seen })
    }

    /// Looks how far the store is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self) -> Result<(), PortError> {
        follow::look(&self.partitions, &mut self.seen.lock(), &*self.processors.ports.store)
    }

    /// What [`crate::query::Query`] is made of.
    pub fn processors(&self) -> Arc<Processors> {
        Arc::clone(&self.processors)
    }
}

fn not_open(id: PartitionId) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("partition {id} is not open"))
}
