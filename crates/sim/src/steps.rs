//! What clients, network, log, processors and questions do in one step.

use std::cell::Cell;
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use engine::cold::settle;
use engine::conformance::mem_store::FlushFailure;
use engine::gateway::{Fate, Outcome, SourceStamp};
use engine::ports::{CounterStore, ErrorKind, PortError};
use engine::query::QueryError;
use model::{Minute, PartitionId, Summary, TimeRange};

use crate::bug::Bug;
use crate::fault::Fault;
use crate::oracle::Kept;
use crate::process::{ALL_EVENTS, Answer, Machine, PARTITIONS, poll};
use crate::world::{Delivery, ITEMS, World, item_name, partition_of};

impl World {
    /// A client sends new events, and some again that it sent of late.
    pub(crate) fn send(&mut self) {
        let new = self.chance.below(24) as usize;
        let mut events: Vec<usize> = (0..new).map(|_| self.invent()).collect();
        let sent = self.oracle.sent.len();
        for _ in 0..self.chance.below(6) {
            if sent > 0 {
                let back = self.chance.index(sent.min(80));
                events.push(sent - 1 - back);
            }
        }
        // What was not confirmed is tried again.
        events.retain(|n| self.oracle.sent[*n].stamp.is_none());
        let is_open =
            |n: &usize| !self.oracle.sent[*n].known && self.oracle.sent[*n].stamp.is_none();
        events.extend((0..sent - new).rev().filter(is_open).take(self.chance.index(8)));
        self.network.push(events);
    }

    /// The network brings a request to the gateway, in no order.
    pub(crate) fn deliver(&mut self) -> Result<()> {
        if self.network.is_empty() {
            return Ok(());
        }
        let at = self.chance.index(self.network.len());
        let request = self.network.swap_remove(at);
        if self.happens(Fault::LostRequest, 10) {
            return Ok(());
        }
        if self.happens(Fault::RepeatedRequest, 6) {
            self.network.push(request.clone());
        }
        self.bring(request)
    }

    /// A request arrives. What is older than the dedup window is not sent any more, or counts anew.
    pub(crate) fn bring(&mut self, mut request: Vec<usize>) -> Result<()> {
        let now = self.log_now();
        let window_ms = i64::from(self.machine.window_minutes) * 60_000;
        let sent = &self.oracle.sent;
        let is_late = |n: &usize| sent[*n].since.is_some_and(|since| now.0 - since.0 > window_ms);
        if request.iter().any(is_late) && !self.happens(Fault::LateRepeat, 6) {
            let sent = &self.oracle.sent;
            request.retain(|n| sent[*n].since.is_none_or(|since| now.0 - since.0 <= window_ms));
        }
        self.hand_over(request, None).map(drop)
    }

    /// Hands a request to the gateway, stamped where a source sends it; its number if a process
    /// runs.
    pub(crate) fn hand_over(
        &mut self,
        request: Vec<usize>,
        stamp: Option<SourceStamp>,
    ) -> Result<Option<u64>> {
        if request.is_empty() || self.process.is_none() {
            return Ok(None);
        }
        let now = self.log_now();
        for &number in &request {
            self.oracle.sent[number].since.get_or_insert(now);
        }
        self.deliveries += 1;
        let number = self.deliveries;
        let events: Vec<_> = request.iter().map(|&n| self.event(n, number)).collect();
        self.trace.note(format!("deliver {number}: {} events", events.len()));
        let Some(process) = &mut self.process else { return Ok(None) };
        if self.machine.bug == Some(Bug::ApplyBeforeAppend) {
            process.apply_early(&events);
        }
        let pending = process.deliver(events, stamp);
        self.waiting.push(Delivery { number, events: request, pending });
        self.answer()?;
        Ok(Some(number))
    }

    /// The log writes one group of a partition.
    pub(crate) fn step_log(&mut self, id: PartitionId) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        if !process.log.step(id) {
            return Ok(());
        }
        let seen = self.oracle.durable(usize::from(id.0));
        self.observe(id, model::Offset(seen))?;
        let seen = self.oracle.durable(usize::from(id.0));
        self.trace.note(format!("log {id} durable to {seen}"));
        self.answer()
    }

    /// Hears what became of deliveries.
    fn answer(&mut self) -> Result<()> {
        for mut delivery in std::mem::take(&mut self.waiting) {
            match poll(&mut delivery.pending) {
                None => self.waiting.push(delivery),
                Some(answer) => self.judge(&delivery, answer)?,
            }
        }
        Ok(())
    }

    fn judge(&mut self, delivery: &Delivery, answer: Answer) -> Result<()> {
        let is_lost = self.happens(Fault::LostAnswer, 5);
        let (refused, result) = match answer {
            Answer::Refused => ((0..delivery.events.len()).collect(), Ok(Outcome::default())),
            Answer::Committed(refused, result) => (refused, result),
        };
        // An answer with verdicts, and not one that nothing was accepted for a while.
        let is_judged = result.is_ok() && refused.len() < delivery.events.len();
        let told = result.as_ref().map(|outcome| outcome.accepted).map_err(|e| e.kind);
        self.trace.note(format!("delivery {}: {told:?}", delivery.number));
        for (at, &event) in delivery.events.iter().enumerate() {
            let failed = |failed: &&engine::gateway::Failed| failed.index as usize == at;
            let is_again = result.as_ref().is_ok_and(|told| told.failed.iter().any(|f| failed(&f)));
            if is_judged && !is_lost && !is_again && refused.contains(&at) {
                let sent = &mut self.oracle.sent[event];
                sent.given_up |= sent.stamp.is_some() && !sent.known;
            }
            let fate = match &result {
                _ if refused.contains(&at) => Some(Fate::NotWritten),
                Err(_) => Some(Fate::NotWritten),
                Ok(outcome) => outcome.failed.iter().find(failed).map(|failed| failed.fate),
            };
            match fate {
                Some(Fate::NotWritten) => self.oracle.promise_unwritten(event, delivery.number)?,
                Some(Fate::Unknown) => {}
                None => {
                    self.oracle.acknowledge(event, delivery.number)?;
                    self.oracle.sent[event].known |= !is_lost;
                }
            }
        }
        Ok(())
    }

    /// A processor counts some of what is durable; whether there was anything.
    pub(crate) fn count(&mut self, id: PartitionId) -> Result<bool> {
        let Some(process) = &mut self.process else { return Ok(false) };
        match process.count(id) {
            Ok(counted) => {
                let next = process.next_offset(id);
                self.trace.note(format!("count {id} to {next}"));
                Ok(counted)
            }
            Err(error) => self.fail("count", &error).map(|()| false),
        }
    }

    /// A processor flushes.
    pub(crate) fn flush(&mut self, id: PartitionId) -> Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        if process.freeze(id).is_none() {
            return Ok(());
        }
        let failure = match () {
            () if self.happens(Fault::FlushRefused, 6) => Some(FlushFailure::Before),
            () if self.happens(Fault::FlushUnconfirmed, 6) => Some(FlushFailure::After),
            () if self.happens(Fault::FlushHalfway, 6) => {
                Some(FlushFailure::Partly(self.chance.below(256) as u8))
            }
            () => None,
        };
        let store = self.machine.store.clone();
        // What was on its way since the last one arrives before this one, or never.
        if self.chance.one_in(2) {
            store.deliver_late();
        }
        store.fail_next(failure);
        let intrudes = !self.late.is_empty() && self.happens(Fault::LateWriterWithin, 4);
        if intrudes {
            let at = self.chance.index(self.late.len());
            let (id, frozen) = self.late.swap_remove(at);
            store.intrude(id, frozen);
            self.is_usurped = true;
        }
        let Some(process) = &self.process else { return Ok(()) };
        let result = process.flush(id);
        store.fail_next(None);
        self.late.extend(store.call_off_intruder());
        let told = result.as_ref().map_err(|error| error.kind);
        self.trace.note(format!("flush {id}, {failure:?}, intruder {intrudes}: {told:?}"));
        match result {
            Ok(_) => self.fold(id)?,
            Err(error) => self.flush_failed(failure, &error)?,
        }
        self.check_store()
    }

    /// The store folds what is old, now and then.
    fn fold(&mut self, id: PartitionId) -> Result<()> {
        let Some(process) = self.process.as_ref().filter(|_| self.chance.one_in(2)) else {
            return Ok(());
        };
        self.trace.note(format!("fold {id}"));
        process.fold(id).context("folding failed")?;
        self.make_cold()
    }

    /// Old days go to files, or some of the way there.
    fn make_cold(&mut self) -> Result<()> {
        let Machine { store, cold, .. } = self.machine.clone();
        let fails = self.chance.one_in(2);
        if fails {
            cold.fail(self.chance.below(3) as u32, self.chance.one_in(2));
        }
        let steps_left = Cell::new(self.chance.below(8));
        let is_stopping = || match steps_left.get() {
            0 => true,
            left => {
                steps_left.set(left - 1);
                false
            }
        };
        let settled = settle(&*store, &*cold, PARTITIONS, &is_stopping);
        cold.call_off();
        match settled {
            Err(error) if !fails => return Err(error).context("days cannot be made cold"),
            _ => {}
        }
        let until = store.snapshot()?.cold_until()?;
        self.trace.note(format!("cold until {}", until.0));
        self.cold_until = self.cold_until.max(until);
        Ok(())
    }

    fn flush_failed(&mut self, failure: Option<FlushFailure>, error: &PortError) -> Result<()> {
        let is_away = self.machine.store.is_away();
        match error.kind {
            // The table stays frozen and is tried again.
            ErrorKind::Unavailable if failure.is_some() || is_away => {}
            ErrorKind::Corrupt if failure.is_some() => self.crash(false),
            ErrorKind::Conflict if self.is_usurped => self.crash(false),
            kind => bail!("a flush failed for no reason: {kind:?}: {error}"),
        }
        Ok(())
    }

    /// Somebody asks for an item's numbers.
    pub(crate) fn ask(&mut self, at: usize) -> Result<()> {
        let item = item_name(at);
        let id = partition_of(&item);
        let Some(process) = &self.process else { return Ok(()) };
        let next = process.next_offset(id).0;
        let durable = self.oracle.durable(usize::from(id.0));
        ensure!(next <= durable, "partition {id} is counted to {next}, durable is {durable}");
        let (numbers, as_of) = match process.question(&item) {
            Ok(answer) => answer,
            Err(QueryError::NotReady(_)) => {
                ensure!(!process.is_ready(), "it replayed everything and is not ready");
                return Ok(());
            }
            Err(QueryError::Port(error)) => {
                let is_explained = self.machine.store.is_away()
                    || (error.kind == ErrorKind::Conflict && self.is_usurped);
                ensure!(is_explained, "a question failed: {error}");
                return Ok(());
            }
            Err(error) => bail!("a question failed: {error}"),
        };
        ensure!(process.is_ready(), "it answers before it replayed everything");
        self.oracle.check_as_of(usize::from(id.0), next, as_of)?;
        let minutes = self.oracle.minutes(usize::from(id.0), next, &item);
        let kept = self.oracle.horizons(usize::from(id.0), next);
        let total = minutes.values().sum();
        let series = kept.series(ALL_EVENTS.start, &minutes);
        self.answers.add(kept.finest(ALL_EVENTS.start), 1);
        ensure!(
            (numbers.total, &numbers.minutes) == (total, &series),
            "{item} was answered as {numbers:?} at offset {next}, and is {total:?} {series:?}"
        );
        self.oracle.told(&item, numbers.total.count)?;
        self.trace.note(format!("{item}: {} at {next}", numbers.total.count));
        self.ask_range(&item, kept, &minutes)
    }

    /// Somebody asks for any part of it.
    fn ask_range(
        &mut self,
        item: &str,
        kept: Kept,
        minutes: &BTreeMap<Minute, Summary>,
    ) -> Result<()> {
        let all = ALL_EVENTS.end.0 - ALL_EVENTS.start.0;
        let start = self.chance.below(all.into()) as u32;
        let end = start + 1 + self.chance.below((all - start).into()) as u32;
        let at = |minute: u32| Minute(ALL_EVENTS.start.0 + minute);
        let range = TimeRange { start: at(start), end: at(end) };
        let Some(process) = &self.process else { return Ok(()) };
        let answer = process.count_in(item, range)?;
        let parts = [process.explained(item, None)?, process.explained(item, Some(range))?];
        let whole = [minutes.values().sum(), answer.1];
        ensure!(parts == whole, "the parts of {whole:?} add up to {parts:?}");
        let range = kept.rounded(range);
        let is_in = |(minute, _): &(&Minute, &Summary)| range.contains(**minute);
        let expected = minutes.iter().filter(is_in).map(|(_, summary)| summary).sum();
        ensure!(answer == (range, expected), "{answer:?} was told of {range:?}, not {expected:?}");
        Ok(())
    }

    /// Any of the partitions.
    pub(crate) fn any_partition(&mut self) -> PartitionId {
        PartitionId(self.chance.below(u64::from(PARTITIONS)) as u16)
    }

    /// Asks for any item.
    pub(crate) fn ask_any(&mut self) -> Result<()> {
        let at = self.chance.index(ITEMS);
        self.ask(at)
    }
}
