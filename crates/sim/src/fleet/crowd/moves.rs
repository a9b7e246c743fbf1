//! What befalls a crowd of processors: partitions move, processors die, stop and wake up.

use anyhow::{Result, ensure};
use engine::conformance::mem_store::FlushFailure;
use engine::ports::ErrorKind;
use model::PartitionId;

use super::Crowd;
use crate::chance::Chance;
use crate::fleet::{FleetBug, FleetDone};
use crate::tally::Tally;

/// Of more partitions than these, one that woke up flushes a part before it hears.
const LATE_MOST: usize = 40;

impl Crowd {
    /// One thing of them.
    pub(super) fn disturb_some(
        &mut self,
        chance: &mut Chance,
        done: &mut Tally<FleetDone>,
    ) -> Result<()> {
        let at = chance.index(self.processors.len());
        match chance.below(12) {
            0..4 => self.rebalance(16, chance, done)?,
            4 => {
                // One change of the group after the other, before anybody has done much.
                for _ in 0..2 + chance.below(3) {
                    self.rebalance(3, chance, done)?;
                }
                done.add(FleetDone::Storms, 1);
            }
            5 => {
                self.kill(at, chance)?;
                done.add(FleetDone::Killed, 1);
            }
            6 => self.stop(at, chance, done),
            7 | 8 => self.processors[at].is_stopped = false,
            9 | 10 => self.act_late(at, chance, done)?,
            _ => {
                let ids = self.broker.ids();
                ids.for_each(|id| self.store.of(id).deliver_late());
            }
        }
        Ok(())
    }

    /// About one partition of `one_in` goes to another member; some members open what they are given at
    /// once, others have not come to it when the next thing happens.
    fn rebalance(
        &mut self,
        one_in: u64,
        chance: &mut Chance,
        done: &mut Tally<FleetDone>,
    ) -> Result<()> {
        for id in self.broker.ids() {
            if chance.one_in(one_in) && self.take_away(id, chance)? {
                self.give(id, chance);
                done.add(FleetDone::Moved, 1);
            }
        }
        for at in 0..self.processors.len() {
            if self.processors[at].is_member() && chance.one_in(2) {
                self.open_assigned(at)?;
            }
        }
        Ok(())
    }

    /// The owner of a partition lets go of it, and flushes before, or hears that it is lost; whether it
    /// hears anything.
    fn take_away(&mut self, id: PartitionId, chance: &mut Chance) -> Result<bool> {
        let at = self.owner(id);
        let owner = &mut self.processors[at];
        if !owner.is_member() {
            return Ok(false);
        }
        if owner.to_open.remove(&id) {
            return Ok(true);
        }
        if chance.one_in(4) {
            owner.group.lost(id);
            return Ok(true);
        }
        let is_due = owner.group.freeze(id);
        let failure = match chance.below(8) {
            0 if is_due => Some(FlushFailure::Before),
            1 if is_due => Some(FlushFailure::Partly(chance.below(256) as u8)),
            _ => None,
        };
        if let Some(failure) = failure {
            self.store.of(id).fail_flush(0, failure);
        }
        let told = match self.bug {
            Some(FleetBug::KeepRevoked) => owner.group.flush(id).map(drop),
            _ => owner.group.revoked(id),
        };
        let failed = told.as_ref().err().map(|error| error.kind);
        let expected = failure.map(|_| ErrorKind::Unavailable);
        ensure!(failed == expected, "partition {id} is let go of, {failure:?}: {told:?}");
        Ok(true)
    }

    /// Gives a partition to a member; there always is one.
    fn give(&mut self, id: PartitionId, chance: &mut Chance) {
        let is_member = |at: &usize| self.processors[*at].is_member();
        let members: Vec<usize> = (0..self.processors.len()).filter(is_member).collect();
        let to = members[chance.index(members.len())];
        self.owners[usize::from(id.0)] = to;
        self.processors[to].to_open.insert(id);
    }

    /// A processor dies with all it had in memory, and begins anew; its partitions go to any members.
    pub(super) fn kill(&mut self, at: usize, chance: &mut Chance) -> Result<()> {
        self.processors[at] = self.processor();
        for id in self.broker.ids() {
            let claimed = &mut self.claimed[usize::from(id.0)];
            *claimed = claimed.filter(|by| *by != at);
            if self.owner(id) == at {
                self.give(id, chance);
            }
        }
        Ok(())
    }

    /// A member is stopped for longer than its session: its partitions go to the others, and it does
    /// not know. One at least goes on.
    fn stop(&mut self, at: usize, chance: &mut Chance, done: &mut Tally<FleetDone>) {
        let members = self.processors.iter().filter(|processor| processor.is_member()).count();
        if members < 2 || !self.processors[at].is_member() {
            return;
        }
        let stopped = &mut self.processors[at];
        stopped.is_stopped = true;
        stopped.to_open.clear();
        stopped.unheard = stopped.group.partitions().collect();
        for id in self.broker.ids() {
            if self.owner(id) == at {
                self.give(id, chance);
            }
        }
        done.add(FleetDone::Stopped, 1);
    }

    /// A processor that woke up does what it would have done, as it has not heard yet that all of it is
    /// others' by now; then perhaps it hears.
    fn act_late(
        &mut self,
        at: usize,
        chance: &mut Chance,
        done: &mut Tally<FleetDone>,
    ) -> Result<()> {
        if self.processors[at].is_stopped {
            return Ok(());
        }
        let mut unheard: Vec<_> = self.processors[at].unheard.iter().copied().collect();
        let are_many = unheard.len() > LATE_MOST;
        unheard.retain(|_| !are_many || chance.one_in(8));
        for id in unheard {
            if chance.one_in(2) {
                self.count_one(at, id)?;
            }
            let before = self.store.checkpoint(id)?;
            let told = self.processors[at].group.flush(id);
            if self.claimed[usize::from(id.0)] == Some(at) {
                // Nobody has begun with it since: there is nobody to disturb.
                ensure!(told.is_ok(), "nobody else has partition {id}: {told:?}");
                continue;
            }
            let after = self.store.checkpoint(id)?;
            ensure!(before == after, "partition {id} was flushed by one that had lost it");
            let refused = told.as_ref().err().map(|error| error.kind);
            let is_explained = refused.is_none_or(|kind| kind == ErrorKind::Conflict);
            ensure!(is_explained, "a late flush of {id} is told {told:?}");
            done.add(FleetDone::LateFlushes, u64::from(refused.is_some()));
        }
        if chance.one_in(2) {
            let unheard = std::mem::take(&mut self.processors[at].unheard);
            unheard.into_iter().for_each(|id| self.processors[at].group.lost(id));
        }
        Ok(())
    }
}
