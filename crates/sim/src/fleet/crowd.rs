//! Several processors that share the partitions: these move from one to another, in storms too, while
//! processors die, are stopped for longer than their session and wake up, and the store takes half of a
//! flush.
//!
//! Who is to count what is decided here, as a group's coordinator does; opening, counting, flushing and
//! letting go are the engine's own. A processor that was stopped has lost its partitions and does not
//! know: what it still flushes must change nothing that another has claimed.

mod moves;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use engine::admission::Admission;
use engine::conformance::mem_store::FlushFailure;
use engine::ports::{Clock, CounterStore, ErrorKind, EventLog};
use engine::processor::{Counting, ProcessorSettings, SteppedFollower, SteppedGroup};
use engine::query::Query;
use engine::routing::Routing;
use engine::sources::SourceBook;
use model::{Offset, PartitionId, Retention};

use super::broker::Broker;
use super::counters::Counters;
use super::shards::Shards;
use super::{FleetBug, FleetDone, MAX_EVENT_AGE_MS};
use crate::chance::Chance;
use crate::tally::Tally;

/// See the module.
pub(super) struct Crowd {
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    settings: ProcessorSettings,
    /// Of nobody who counts.
    store: Shards,
    processors: Vec<Processor>,
    /// Who is to count each partition.
    owners: Vec<usize>,
    /// Who opened each partition last, while it lives.
    claimed: Vec<Option<usize>>,
    /// How far each partition was flushed when that was looked at last.
    flushed: Vec<Offset>,
    follower: SteppedFollower,
    query: Query,
    bug: Option<FleetBug>,
}

struct Processor {
    group: SteppedGroup,
    /// It does nothing and hears nothing.
    is_stopped: bool,
    /// Given to it, and not open yet.
    to_open: BTreeSet<PartitionId>,
    /// Taken from it, which it has not heard.
    unheard: BTreeSet<PartitionId>,
}

impl Processor {
    /// Whether the group gives it partitions.
    fn is_member(&self) -> bool {
        !self.is_stopped && self.unheard.is_empty()
    }
}

impl Crowd {
    pub(super) fn open(
        broker: &Arc<Broker>,
        clock: Arc<dyn Clock>,
        settings: ProcessorSettings,
        routing: Arc<Routing>,
        processors: usize,
        bug: Option<FleetBug>,
    ) -> Result<Self> {
        let partitions = broker.partitions();
        let store = Shards::new(partitions);
        let (log, seen) = (broker.clone(), Arc::new(store.clone()));
        let follower = SteppedFollower::open(log, seen, clock.clone(), settings)?;
        let query = Query::new(follower.processors(), MAX_EVENT_AGE_MS).with_routing(routing);
        let mut crowd = Self {
            broker: broker.clone(),
            clock,
            settings,
            store,
            processors: Vec::new(),
            owners: broker.ids().map(|id| usize::from(id.0) % processors).collect(),
            claimed: vec![None; usize::from(partitions)],
            flushed: vec![Offset(0); usize::from(partitions)],
            follower,
            query,
            bug,
        };
        for at in 0..processors {
            let mut processor = crowd.processor();
            processor.to_open = broker.ids().filter(|id| crowd.owner(*id) == at).collect();
            crowd.processors.push(processor);
        }
        Ok(crowd)
    }

    /// A process that has just begun.
    fn processor(&self) -> Processor {
        let admission = Arc::new(Admission::new(self.broker.partitions(), u64::MAX));
        let store = match self.bug {
            Some(FleetBug::ShareClaims) => self.store.clone(),
            _ => self.store.another(),
        };
        let (log, clock, store) = (self.broker.clone(), self.clock.clone(), Arc::new(store));
        let (settings, retention) = (self.settings, Retention::FOREVER);
        let group = SteppedGroup::new(log, store, clock, admission, settings, retention);
        let (to_open, unheard) = Default::default();
        Processor { group, is_stopped: false, to_open, unheard }
    }

    fn owner(&self, id: PartitionId) -> usize {
        self.owners[usize::from(id.0)]
    }

    /// A processor opens what it was given; it goes on where the store is.
    fn open_assigned(&mut self, at: usize) -> Result<()> {
        for id in std::mem::take(&mut self.processors[at].to_open) {
            let group = &mut self.processors[at].group;
            group.assigned(id)?;
            self.claimed[usize::from(id.0)] = Some(at);
            let stored = self.store.checkpoint(id)?;
            if self.bug == Some(FleetBug::ForgetWindow) {
                let dedup_minutes = self.settings.dedup_minutes;
                let sources = self.store.of(id).snapshot()?.sources(id)?;
                let counting =
                    Counting::new(stored.as_ref(), dedup_minutes, self.settings.hash_keys);
                let sources = Arc::new(SourceBook::restored(sources));
                group.replace(id, counting.with_sources(sources));
            }
            let (next, stored) = (group.next_offset(id), stored.unwrap_or_default().next_offset);
            let goes_on = next == Some(stored) || self.bug == Some(FleetBug::KeepRevoked);
            ensure!(goes_on, "partition {id} goes on at {next:?}, and the store is at {stored}");
        }
        Ok(())
    }

    /// A processor counts what is in the log of a partition.
    fn count_one(&mut self, at: usize, id: PartitionId) -> Result<()> {
        let group = &mut self.processors[at].group;
        let Some(next) = group.next_offset(id) else { return Ok(()) };
        let batches = self.broker.batches(id, next);
        Ok(group.apply(id, &batches)?)
    }

    /// The owner of a partition flushes a table of it, or fails as ordered; whether there was anything.
    fn flush_one(&mut self, id: PartitionId, failure: Option<FlushFailure>) -> Result<bool> {
        let at = self.owner(id);
        let group = &self.processors[at].group;
        if !group.freeze(id) {
            return Ok(false);
        }
        if let Some(failure) = failure {
            self.store.of(id).fail_flush(0, failure);
        }
        match (group.flush(id), failure) {
            (Ok(had_any), None) => return Ok(had_any),
            (Err(error), Some(FlushFailure::After)) if error.kind == ErrorKind::Corrupt => {}
            (Err(error), Some(FlushFailure::Before | FlushFailure::Partly(_)))
                if error.kind == ErrorKind::Unavailable => {}
            (told, _) => bail!("the owner's flush of {id}, failing as {failure:?}: {told:?}"),
        }
        Ok(true)
    }

    /// No checkpoint goes back, or beyond the log.
    fn check_progress(&mut self) -> Result<()> {
        for id in self.broker.ids() {
            let now = self.store.checkpoint(id)?.unwrap_or_default().next_offset;
            let (before, end) =
                (self.flushed[usize::from(id.0)], self.broker.bounds(id).durable_offset);
            ensure!((before..=end).contains(&now), "partition {id}: {before}, {now} and {end}");
            self.flushed[usize::from(id.0)] = now;
        }
        Ok(())
    }
}

impl Counters for Crowd {
    /// The log of a group has the partitions it has.
    fn grow(&mut self) -> Result<()> {
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        for at in 0..self.processors.len() {
            if !self.processors[at].is_member() {
                continue;
            }
            self.open_assigned(at)?;
            let mine: Vec<_> = self.processors[at].group.partitions().collect();
            for id in mine {
                if self.owner(id) == at {
                    self.count_one(at, id)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, chance: &mut Chance) -> Result<()> {
        let partitions = u64::from(self.broker.partitions());
        for _ in 0..1 + partitions / 10 {
            let id = PartitionId(chance.below(partitions) as u16);
            let failure = match chance.below(12) {
                0 => Some(FlushFailure::Before),
                1 => Some(FlushFailure::Partly(chance.below(256) as u8)),
                2 if chance.one_in(4) => Some(FlushFailure::After),
                _ => None,
            };
            let was_tried = self.flush_one(id, failure)?;
            if was_tried && failure == Some(FlushFailure::After) {
                // What it wrote it does not know: it starts anew.
                self.kill(self.owner(id), chance)?;
            }
        }
        Ok(())
    }

    fn disturb(&mut self, chance: &mut Chance, done: &mut Tally<FleetDone>) -> Result<()> {
        self.disturb_some(chance, done)?;
        self.check_progress()?;
        if chance.one_in(3) {
            self.count()?;
        }
        if chance.one_in(2) {
            self.follower.look()?;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<()> {
        self.count()?;
        for id in self.broker.ids() {
            while self.flush_one(id, None)? {}
            let end = self.broker.bounds(id).durable_offset;
            let stored = self.store.checkpoint(id)?.unwrap_or_default().next_offset;
            ensure!(stored == end, "partition {id} is flushed to {stored}, and ends at {end}");
        }
        self.check_progress()?;
        Ok(self.follower.look()?)
    }

    fn query(&self) -> &Query {
        &self.query
    }
}
