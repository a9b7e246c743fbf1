//! Liveness: once faults have stopped, events are accepted again and everything accepted counts.

use anyhow::{Context, Result, ensure};
use engine::ports::EventLog;
use model::PartitionId;

use crate::process::{PARTITIONS, log_time};
use crate::world::{ITEMS, World};

/// Longest time until the log believes its clock again, in minutes: a jump ahead, and a slack.
const MINUTES_MAX: usize = 60;

impl World {
    /// Ends the faults, lets the clients try again and the processors catch up.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.end_faults();
        let must_restart = self.process.is_none() || self.was_struck() || self.is_usurped;
        if must_restart || self.chance.one_in(2) {
            self.crash(true);
            self.start()?;
        }
        self.wait_for_clock()?;
        self.drain()?;
        let fresh: Vec<usize> = (0..10).map(|_| self.invent()).collect();
        self.bring(fresh.clone())?;
        let is_open = |n: &usize| {
            let sent = &self.oracle.sent[*n];
            !sent.known && sent.stamp.is_none()
        };
        let unknown: Vec<usize> = (0..self.oracle.sent.len()).filter(is_open).collect();
        self.bring(unknown)?;
        self.drain()?;
        self.end_spools()?;
        for number in fresh {
            let is_known = self.oracle.sent[number].known;
            ensure!(is_known, "the faults are over, and event {number} is still not accepted");
        }
        self.catch_up().context("when the faults were over")?;
        for id in (0..PARTITIONS).map(PartitionId) {
            self.flush(id)?;
        }
        self.crash(true);
        self.start()?;
        self.catch_up().context("after the last restart")
    }

    /// A clock that was set while the log ran is believed after a restart, at the latest when it
    /// has caught up with the log.
    fn wait_for_clock(&mut self) -> Result<()> {
        if self.process.as_ref().and_then(log_time).is_none() {
            self.crash(false);
            self.start()?;
        }
        for _ in 0..MINUTES_MAX {
            if self.process.as_ref().and_then(log_time).is_some() {
                return Ok(());
            }
            self.machine.clock.pass(60_000);
        }
        anyhow::bail!("the clock is right, and the log does not believe it")
    }

    /// Writes what is queued and hears all answers.
    pub(crate) fn drain(&mut self) -> Result<()> {
        for id in (0..PARTITIONS).map(PartitionId) {
            self.step_log(id)?;
        }
        ensure!(self.waiting.is_empty(), "a delivery has no answer though the queues are empty");
        Ok(())
    }

    fn catch_up(&mut self) -> Result<()> {
        for id in (0..PARTITIONS).map(PartitionId) {
            while self.count(id)? {}
            let process = self.process.as_ref().context("the process ended without a fault")?;
            let (next, end) = (process.next_offset(id), process.log.bounds(id).durable_offset);
            ensure!(next == end, "partition {id} is counted to {next} of {end}");
        }
        for at in 0..ITEMS {
            self.ask(at)?;
        }
        self.oracle.check_acknowledged()?;
        self.check_store()
    }
}
