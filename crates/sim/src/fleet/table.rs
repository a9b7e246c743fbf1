//! The routing table of a fleet: one that all share, and what each node knows of it.

use std::sync::Arc;

use engine::ports::{ErrorKind, PortError, RoutingStore, next_table};
use model::{RoutingChange, RoutingTable, TimestampMs};
use parking_lot::Mutex;

use super::broker::Broker;

/// What was published, in one order, on the log's clock.
pub(super) struct Topic {
    table: Mutex<Arc<RoutingTable>>,
    broker: Arc<Broker>,
}

impl Topic {
    pub(super) fn new(partitions: u16, broker: Arc<Broker>) -> Self {
        Self { table: Mutex::new(Arc::new(RoutingTable::first(partitions))), broker }
    }

    /// The number of the version that holds for events of a time.
    pub(super) fn in_effect(&self, time: TimestampMs) -> u32 {
        let table = self.table.lock();
        table.versions().iter().filter(|version| version.effective <= time).count() as u32
    }

    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let mut table = self.table.lock();
        *table = Arc::new(next_table(&table, after, self.broker.now(), partitions, changes)?);
        Ok(table.clone())
    }
}

/// What a gateway knows: the table as it was when it asked last.
pub(super) struct Node {
    topic: Arc<Topic>,
    seen: Mutex<(Arc<RoutingTable>, TimestampMs)>,
    /// The planted bug: it takes what it has for the newest.
    is_trusting: bool,
}

impl Node {
    pub(super) fn new(topic: &Arc<Topic>, is_trusting: bool) -> Self {
        let seen = Mutex::new((topic.table.lock().clone(), topic.broker.now()));
        Self { topic: topic.clone(), seen, is_trusting }
    }

    pub(super) fn refresh(&self) {
        *self.seen.lock() = (self.topic.table.lock().clone(), self.topic.broker.now());
    }
}

impl RoutingStore for Node {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        Ok(self.seen.lock().0.clone())
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        match self.is_trusting {
            true => Ok(self.topic.broker.now()),
            false => Ok(self.seen.lock().1),
        }
    }

    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let table = self.topic.publish(after, partitions, changes)?;
        self.refresh();
        Ok(table)
    }
}

/// What questions go by: everything that was published.
pub(super) struct Asking {
    pub(super) topic: Arc<Topic>,
    /// The planted bug: they know only how many partitions there are now.
    pub(super) forgets_past: bool,
}

impl RoutingStore for Asking {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        let table = self.topic.table.lock().clone();
        match self.forgets_past {
            true => Ok(Arc::new(RoutingTable::first(table.newest().partitions))),
            false => Ok(table),
        }
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        Ok(self.topic.broker.now())
    }

    fn publish(
        &self,
        _: u32,
        _: u16,
        _: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        Err(PortError::new(ErrorKind::Invalid, "questions change nothing"))
    }
}
