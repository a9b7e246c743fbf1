//! Who counts what the fleet accepts: one process alone, or several that share the partitions.

use std::sync::Arc;

use anyhow::Result;
use engine::admission::Admission;
use engine::conformance::mem_store::MemStore;
use engine::ports::{Clock, EventLog};
use engine::processor::{ProcessorSettings, Stepped};
use engine::query::Query;
use engine::routing::Routing;
use model::PartitionId;

use super::broker::Broker;
use super::{FleetDone, MAX_EVENT_AGE_MS};
use crate::chance::Chance;
use crate::tally::Tally;

/// How every processor is set, apart from its bugs.
pub(super) fn settings(seed: u64, dedup_minutes: u32) -> ProcessorSettings {
    ProcessorSettings {
        flush_interval_ms: u64::MAX,
        table_cells_max: usize::MAX,
        // So little that rows are forgotten again.
        known_bytes_max: 8 << 10,
        hash_keys: (seed, 7),
        dedup_minutes,
    }
}

/// See the module.
pub(super) trait Counters {
    /// Takes partitions that the log has been given since.
    fn grow(&mut self) -> Result<()>;

    /// Counts what is in the log.
    fn count(&mut self) -> Result<()>;

    /// Flushes something.
    fn flush(&mut self, chance: &mut Chance) -> Result<()>;

    /// Partitions move, processes die, are stopped or wake up.
    fn disturb(&mut self, chance: &mut Chance, done: &mut Tally<FleetDone>) -> Result<()>;

    /// Has everything counted that is in the log, where questions see it.
    fn catch_up(&mut self) -> Result<()>;

    /// What answers questions.
    fn query(&self) -> &Query;
}

/// One process with all partitions, which answers from its memory too.
pub(super) struct Alone {
    broker: Arc<Broker>,
    stepped: Stepped,
    query: Query,
}

impl Alone {
    pub(super) fn open(
        broker: &Arc<Broker>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
        settings: ProcessorSettings,
        routing: Arc<Routing>,
    ) -> Result<Self> {
        let log: Arc<dyn EventLog> = broker.clone();
        let store = Arc::new(MemStore::new());
        let stepped = Stepped::open(log, store, clock, admission, settings)?;
        let query = Query::new(stepped.processors(), MAX_EVENT_AGE_MS).with_routing(routing);
        Ok(Self { broker: broker.clone(), stepped, query })
    }
}

impl Counters for Alone {
    fn grow(&mut self) -> Result<()> {
        Ok(self.stepped.grow()?)
    }

    fn count(&mut self) -> Result<()> {
        for id in self.broker.ids() {
            let next = self.stepped.next_offset(id);
            let batches = self.broker.batches(id, next);
            self.stepped.apply(id, &batches)?;
        }
        Ok(())
    }

    fn flush(&mut self, chance: &mut Chance) -> Result<()> {
        let id = PartitionId(chance.below(u64::from(self.broker.partitions())) as u16);
        Ok(self.stepped.flush(id)?)
    }

    fn disturb(&mut self, _: &mut Chance, _: &mut Tally<FleetDone>) -> Result<()> {
        Ok(())
    }

    fn catch_up(&mut self) -> Result<()> {
        self.count()
    }

    fn query(&self) -> &Query {
        &self.query
    }
}
