//! Clients with a spool of their own: each stamps its requests, sends one after the other, sends one
//! again until it knows all of it to be durable, and may send old ones again at any time.

use anyhow::{Result, ensure};
use engine::gateway::SourceStamp;

use crate::fault::Fault;
use crate::oracle::source_name;
use crate::world::World;

/// See the module.
pub(crate) struct Spool {
    source: usize,
    /// Its events in the order of their sequences, from 0.
    events: Vec<usize>,
    /// So many of them are known to be durable.
    known: usize,
    /// The request that is under way.
    under_way: Option<u64>,
}

impl Spool {
    /// With nothing in it.
    pub(crate) fn new(source: usize) -> Self {
        Self { source, events: Vec::new(), known: 0, under_way: None }
    }
}

impl World {
    /// A spool gets new events, and sends what it does not know to be durable, or an old request.
    pub(crate) fn spool(&mut self) -> Result<()> {
        let at = self.chance.index(self.spools.len());
        for _ in 0..self.chance.below(8) {
            self.invent_stamped(at);
        }
        self.learn(at);
        let known = self.spools[at].known;
        if known > 0 && self.happens(Fault::StampedRepeat, 3) {
            let from = self.chance.index(known);
            let events = 1 + self.chance.index(known - from);
            return self.send_from_spool(at, from, events).map(drop);
        }
        let under_way = self.spools[at].under_way;
        if self.waiting.iter().any(|delivery| Some(delivery.number) == under_way) {
            return Ok(());
        }
        let events = 1 + self.chance.index(12);
        self.spools[at].under_way = self.send_from_spool(at, known, events)?;
        Ok(())
    }

    fn invent_stamped(&mut self, at: usize) {
        let number = self.invent();
        let spool = &mut self.spools[at];
        self.oracle.sent[number].stamp = Some((spool.source, spool.events.len() as i64));
        spool.events.push(number);
    }

    fn learn(&mut self, at: usize) {
        let spool = &mut self.spools[at];
        let is_known = |number: &usize| {
            let sent = &self.oracle.sent[*number];
            sent.known || sent.given_up
        };
        spool.known += spool.events[spool.known..].iter().take_while(|n| is_known(n)).count();
    }

    fn send_from_spool(&mut self, at: usize, from: usize, events: usize) -> Result<Option<u64>> {
        let spool = &self.spools[at];
        let end = spool.events.len().min(from + events);
        let stamp = SourceStamp { source: source_name(spool.source), first: from as i64 };
        let request = spool.events[from..end].to_vec();
        self.hand_over(request, Some(stamp))
    }

    /// The faults are over: every spool empties itself, and then sends everything again.
    pub(crate) fn end_spools(&mut self) -> Result<()> {
        for at in 0..self.spools.len() {
            self.invent_stamped(at);
            self.learn(at);
            let (from, all) = (self.spools[at].known, self.spools[at].events.len());
            self.send_from_spool(at, from, all)?;
            self.drain()?;
            self.learn(at);
            let known = self.spools[at].known;
            ensure!(known == all, "the faults are over, and {known} of {all} stamped are accepted");
            self.send_from_spool(at, 0, all)?;
            self.drain()?;
        }
        Ok(())
    }
}
