//! The two threads of one partition and what others may know of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use futures::future::{Either, Shared, select};
use futures::{FutureExt, TryFutureExt};
use model::recover::{LogFacts, Resume, resume};
use model::{Checkpoint, Horizons, Offset, PartitionId, TimestampMs};
use parking_lot::Mutex;

use super::corrections::{Standing, corrected_until, newest_correction};
use super::counting::Counting;
use super::flush::flush;
use super::known::KnownRows;
use super::leaders::Leaders;
use super::memory::{Frozen, Memory};
use super::reading::read_ahead;
use super::{PortError, Ports};
use crate::ports::{Claim, CounterSnapshot, ErrorKind, Repairs};
use crate::sources::SourceBook;

/// Payload read from the log at a time.
const READ_BYTES: usize = 1 << 20;
/// Wait before a flush that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often who waits for the count looks how far it is.
const READING_PAUSE: Duration = Duration::from_millis(200);

/// One partition's processor.
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) memory: Memory,
    pub(super) ports: Arc<Ports>,
    checkpoint: Option<Checkpoint>,
    /// As the checkpoint has them, and then as they are counted.
    sources: Arc<SourceBook>,
    resume: Resume,
    /// The end of the log when the process started: questions are answered from there on.
    replay_end: Offset,
    figures: Figures,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: Shared<futures::future::BoxFuture<'static, ()>>,
    is_stopping: AtomicBool,
    /// Whether it stops where it is, and not at the end of the log.
    is_leaving: AtomicBool,
    /// Whether somebody else counts it already, so that nothing is to be flushed.
    is_lost: AtomicBool,
    leaders: Leaders,
    /// Held while flushing.
    known: Mutex<KnownRows>,
    /// Whether what may pass ends these threads and not the partition: whoever opened it opens it anew.
    is_opened_anew: bool,
}

/// What is told of a partition, updated once a batch.
#[derive(Default)]
struct Figures {
    next_offset: AtomicU64,
    append_time: AtomicU64,
    /// A time before which everything acknowledged was seen to be counted.
    complete_until: AtomicU64,
    checkpoint_offset: AtomicU64,
    /// Monotonic milliseconds.
    checkpoint_at: AtomicU64,
    counted: AtomicU64,
    duplicates: AtomicU64,
    dead_letters: AtomicU64,
    dedup_ids: AtomicU64,
    dedup_bytes: AtomicU64,
    folded_rows: AtomicU64,
    flush_errors: AtomicU64,
    /// Where somebody else counts: since when something has been left to count, in monotonic milliseconds plus one;
    /// 0 where nothing is.
    behind_since: AtomicU64,
    /// Which corrections are in the rows, see [`super::corrections`].
    corrections: Standing,
    is_stopped: AtomicBool,
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which partition.
    pub partition: PartitionId,
    /// Identity of the log.
    pub log_epoch: u32,
    /// The first offset the log still keeps.
    pub start_offset: Offset,
    /// The first offset that is not durable.
    pub durable_offset: Offset,
    /// The first offset that is not counted in memory.
    pub next_offset: Offset,
    /// The first offset that is not in the store.
    pub checkpoint_offset: Offset,
    /// Records waiting to be counted.
    pub lag: u64,
    /// Append time of the newest counted batch.
    pub append_time: TimestampMs,
    /// Milliseconds since everything counted then was last flushed.
    pub checkpoint_age_ms: u64,
    /// Events counted since the process started.
    pub counted: u64,
    /// Duplicates dropped since the process started.
    pub duplicates: u64,
    /// Dead letters since the process started.
    pub dead_letters: u64,
    /// Ids in the dedup window.
    pub dedup_ids: u64,
    /// Memory of the dedup window in bytes.
    pub dedup_bytes: u64,
    /// From where on minutes and hours are kept.
    pub horizons: Horizons,
    /// Rows whose minutes were made one cell since the process started.
    pub folded_rows: u64,
    /// Flushes that failed and are tried again, since the process started.
    pub flush_errors: u64,
    /// Whether it stopped on an error.
    pub is_stopped: bool,
}

impl Partition {
    /// Finds out where to go on; reads nothing of the log yet.
    pub(crate) fn open(
        ports: &Arc<Ports>,
        Claim { checkpoint, begun }: Claim,
        snapshot: &dyn CounterSnapshot,
        id: PartitionId,
    ) -> Result<Self, PortError> {
        let bounds = ports.log.bounds(id);
        let facts = LogFacts {
            log_epoch: bounds.log_epoch,
            start_offset: bounds.start_offset,
            durable_offset: bounds.durable_offset,
        };
        let resume = resume(checkpoint.as_ref(), facts).map_err(|error| {
            PortError::caused(ErrorKind::Corrupt, format!("partition {id} cannot go on"), error)
        })?;
        if let Some(begun) = begun.filter(|begun| *begun > bounds.durable_offset) {
            let context = format!(
                "partition {id} cannot go on: rows up to offset {begun} are in the store, and the \
                 log ends at {}; restore a log that goes with this store",
                bounds.durable_offset
            );
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
        let sources = Arc::new(SourceBook::restored(snapshot.sources(id)?));
        let corrected = corrected_until(checkpoint.as_ref(), &snapshot.repairs(id)?);
        ports.admission.know_sources(id.0, sources.clone());
        // The ids from there on are still to come.
        ports.admission.set_window(id.0, (0, 0), resume.window_from);
        let seed = ports.settings.hash_keys.0 ^ ports.settings.hash_keys.1.rotate_left(32);
        let memory = Memory::new(checkpoint.unwrap_or_default(), seed).ending_at(begun);
        let is_new = checkpoint.is_none() && begun.is_none();
        let known = Mutex::new(KnownRows::new(ports.settings.known_bytes_max, seed, is_new));
        let opened = Self::new(ports, id, memory, checkpoint, resume);
        opened.figures.corrections.set(corrected);
        Ok(Self { sources, known, replay_end: bounds.durable_offset, ..opened })
    }

    /// A partition that somebody else counts: what the store has is all that is known of it.
    pub(super) fn following(
        ports: &Arc<Ports>,
        snapshot: &dyn CounterSnapshot,
        id: PartitionId,
    ) -> Result<Self, PortError> {
        let checkpoint = snapshot.checkpoint(id)?;
        let from = checkpoint.unwrap_or_default();
        let resume = Resume { window_from: from.next_offset, count_from: from.next_offset };
        let followed = Self::new(ports, id, Memory::following(from, 0), checkpoint, resume);
        followed.figures.append_time.store(from.append_time.0 as u64, Ordering::Relaxed);
        followed.follow_corrections(checkpoint.as_ref(), &snapshot.repairs(id)?);
        Ok(followed)
    }

    fn new(
        ports: &Arc<Ports>,
        id: PartitionId,
        memory: Memory,
        checkpoint: Option<Checkpoint>,
        resume: Resume,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let figures = Figures::default();
        figures.next_offset.store(resume.count_from.0, Ordering::Relaxed);
        figures.checkpoint_offset.store(resume.count_from.0, Ordering::Relaxed);
        let now = ports.clock.now().monotonic_ms as u64;
        figures.checkpoint_at.store(now, Ordering::Relaxed);
        Self {
            id,
            memory,
            ports: Arc::clone(ports),
            checkpoint,
            sources: Arc::default(),
            resume,
            replay_end: Offset(0),
            figures,
            stop: Mutex::new(Some(stop)),
            stopped: stopped.unwrap_or_else(|_| ()).boxed().shared(),
            is_stopping: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            leaders: Leaders::default(),
            known: Mutex::new(KnownRows::none()),
            is_opened_anew: false,
        }
    }

    /// One of several processes that share a log: another one may take it over at any time.
    pub(super) fn opened_anew(self) -> Self {
        Self { is_opened_anew: true, ..self }
    }

    /// The most counted items of the newest hours, where nobody else writes rows of this partition.
    pub(crate) fn leaders(&self) -> Option<&Leaders> {
        let is_alone = !self.is_opened_anew && !self.memory.is_following();
        is_alone.then_some(&self.leaders)
    }

    /// Notes how far the store is, where somebody else counts.
    pub(crate) fn follow(&self, stored: &Checkpoint) {
        if self.memory.follow(stored) {
            let now = self.ports.clock.now().monotonic_ms as u64;
            self.figures.checkpoint_at.store(now, Ordering::Relaxed);
            self.figures.append_time.store(stored.append_time.0 as u64, Ordering::Relaxed);
            self.figures.checkpoint_offset.store(stored.next_offset.0, Ordering::Release);
            self.figures.next_offset.store(stored.next_offset.0, Ordering::Release);
        }
    }

    /// Notes whether something is left to count, where somebody else counts.
    pub(super) fn follow_end(&self, stored: &Checkpoint) {
        let since = &self.figures.behind_since;
        if stored.next_offset >= self.ports.log.bounds(self.id).durable_offset {
            since.store(0, Ordering::Relaxed);
        } else if since.load(Ordering::Relaxed) == 0 {
            let now = self.ports.clock.now().monotonic_ms as u64;
            since.store(now + 1, Ordering::Relaxed);
        }
    }

    /// For how long something has been left to count, in milliseconds, as far as the store has said.
    pub(crate) fn behind_for_ms(&self) -> u64 {
        match self.figures.behind_since.load(Ordering::Relaxed) {
            0 => 0,
            since => (self.ports.clock.now().monotonic_ms as u64 + 1).saturating_sub(since),
        }
    }

    /// Notes which corrections the rows have, where somebody else counts: whoever read them may have read the
    /// checkpoint before.
    pub(super) fn follow_corrections(&self, stored: Option<&Checkpoint>, repairs: &Repairs) {
        self.figures.corrections.set(corrected_until(stored, repairs));
    }

    /// Opens a partition that was added while questions are answered: nobody waits for it.
    pub(crate) fn open_added(
        ports: &Arc<Ports>,
        claim: Claim,
        snapshot: &dyn CounterSnapshot,
        id: PartitionId,
    ) -> Result<Self, PortError> {
        let partition = Self { replay_end: Offset(0), ..Self::open(ports, claim, snapshot, id)? };
        // No event was acknowledged here before now.
        let now = ports.log.append_time().unwrap_or_default();
        partition.figures.append_time.store(now.0 as u64, Ordering::Relaxed);
        Ok(partition)
    }

    pub(crate) fn ask_to_stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.stop.lock().take();
    }

    /// Stops where it is: what is counted is flushed once, unless it is lost to somebody else.
    pub(super) fn leave(&self, is_lost: bool) {
        self.is_lost.fetch_or(is_lost, Ordering::Relaxed);
        self.is_leaving.store(true, Ordering::Relaxed);
        self.ask_to_stop();
    }

    /// The counting thread.
    pub(crate) fn run(&self) {
        if let Err(error) = self.count() {
            self.give_up(&error);
        }
        self.memory.close();
    }

    fn count(&self) -> Result<(), PortError> {
        let mut counting = self.recover()?;
        while let Some(batches) = self.read_next(counting.next_offset())? {
            self.apply(&mut counting, &batches)?;
        }
        Ok(())
    }

    /// The state at the checkpoint, with the dedup window as it was there.
    pub(super) fn recover(&self) -> Result<Counting, PortError> {
        let settings = &self.ports.settings;
        let mut counting =
            Counting::new(self.checkpoint.as_ref(), settings.dedup_minutes, settings.hash_keys)
                .with_sources(self.sources.clone());
        self.rebuild(&mut counting)?;
        Ok(counting)
    }

    /// Counts batches that come next.
    pub(super) fn apply(
        &self,
        counting: &mut Counting,
        batches: &[model::Batch<bytes::Bytes>],
    ) -> Result<(), PortError> {
        for batch in batches {
            counting.apply(batch, &self.memory).map_err(|error| {
                let context = format!("partition {} cannot be counted on", self.id);
                PortError::caused(ErrorKind::Corrupt, context, error)
            })?;
            self.publish(counting);
            self.memory.freeze_when_full(self.ports.settings.table_cells_max);
        }
        Ok(())
    }

    /// Reads the ids of the dedup window back from the log.
    fn rebuild(&self, counting: &mut Counting) -> Result<(), PortError> {
        let mut from = self.resume.window_from;
        counting.expect_ids(self.resume.count_from.0.saturating_sub(from.0));
        while from < self.resume.count_from {
            for batch in self.read_or_leave(from)? {
                counting.rebuild(&batch, from);
                from = from.max(batch.next_offset());
            }
        }
        self.publish(counting);
        Ok(())
    }

    /// What comes next in the log, whoever stops; but not when the partition is left, as a log
    /// elsewhere may not answer.
    fn read_or_leave(&self, from: Offset) -> Result<Vec<model::Batch<bytes::Bytes>>, PortError> {
        let mut read = self.ports.log.read(self.id, from, READ_BYTES);
        if !self.is_stopping.load(Ordering::Relaxed) {
            match block_on(select(read, self.stopped.clone())) {
                Either::Left((read, _)) => return read,
                Either::Right(((), unread)) => read = unread,
            }
        }
        if self.is_leaving.load(Ordering::Relaxed) {
            let context = format!("partition {} is left", self.id);
            return Err(PortError::new(ErrorKind::Unavailable, context));
        }
        block_on(read)
    }

    /// What comes next in the log; none once the end is reached and stopping was asked for.
    fn read_next(
        &self,
        from: Offset,
    ) -> Result<Option<Vec<model::Batch<bytes::Bytes>>>, PortError> {
        let is_at_end = || from >= self.ports.log.bounds(self.id).durable_offset;
        let is_stopping = self.is_stopping.load(Ordering::Relaxed);
        let is_leaving = self.is_leaving.load(Ordering::Relaxed);
        if self.memory.is_closed() || is_leaving || (is_stopping && is_at_end()) {
            return Ok(None);
        }
        let read = self.ports.log.read(self.id, from, READ_BYTES);
        if is_stopping {
            return block_on(read).map(Some);
        }
        match block_on(select(read, self.stopped.clone())) {
            Either::Left((read, _)) => read.map(Some),
            Either::Right(_) => Ok(Some(Vec::new())),
        }
    }

    fn publish(&self, counting: &Counting) {
        let figures = &self.figures;
        let (ids, bytes) = counting.dedup_size();
        let tally = counting.tally();
        let checkpoint = counting.checkpoint();
        figures.counted.store(tally.counted, Ordering::Relaxed);
        figures.duplicates.store(tally.duplicates, Ordering::Relaxed);
        figures.dead_letters.store(tally.dead_letters, Ordering::Relaxed);
        figures.dedup_ids.store(ids, Ordering::Relaxed);
        figures.dedup_bytes.store(bytes, Ordering::Relaxed);
        self.ports.admission.set_window(self.id.0, (ids, bytes), checkpoint.next_offset);
        figures.append_time.fetch_max(checkpoint.append_time.0 as u64, Ordering::Relaxed);
        // Whoever sees this offset finds its events in memory.
        figures.next_offset.store(checkpoint.next_offset.0, Ordering::Release);
    }

    /// The flushing thread.
    pub(crate) fn run_flushes(&self) {
        let interval = Duration::from_millis(self.ports.settings.flush_interval_ms);
        let (mut wait, mut may_fold) = (interval, true);
        loop {
            let (full, is_closed) = self.memory.wait_frozen(wait);
            if self.is_lost.load(Ordering::Relaxed) {
                return self.memory.close();
            }
            // A full table holds up counting; one that is merely due can wait for its turn.
            let turn = full.is_none().then(|| self.ports.unhurried.lock());
            match full.or_else(|| self.memory.freeze_now()) {
                Some(frozen) if !self.flush_until_done(&frozen) => return,
                None if is_closed => return,
                _ => {}
            }
            drop(turn);
            wait = interval.saturating_sub(self.fold(&mut may_fold, interval));
        }
    }

    /// Reads totals, so that flushes need not ask for them, once what was left to count is counted: until then it
    /// would only be in the way. Where partitions move, whoever takes one over has others to think of, and a store
    /// that lies elsewhere.
    pub(crate) fn run_reading(&self) {
        if self.is_opened_anew {
            return;
        }
        while self.figures.next_offset.load(Ordering::Relaxed) < self.replay_end.0 {
            if self.memory.wait_closed(READING_PAUSE) {
                return;
            }
        }
        if let Err(error) = self.read_totals() {
            // Flushes ask for what they need, as ever.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(partition = self.id.0, error, "totals could not be read ahead");
        }
    }

    fn read_totals(&self) -> Result<(), PortError> {
        let snapshot = {
            // No flush is between the two.
            let mut known = self.known.lock();
            if !known.begin_reading() {
                return Ok(());
            }
            self.ports.store.snapshot()?
        };
        // Of hours before the newest there is less to come.
        let counted_until = snapshot.checkpoint(self.id)?.unwrap_or_default().append_time;
        let is_over = || self.memory.is_closed();
        read_ahead(&*snapshot, self.id, counted_until.minute().hour(), &self.known, is_over)
    }

    pub(super) fn note_folded(&self, rows: u64) {
        self.figures.folded_rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Flushes once.
    pub(super) fn flush(&self, frozen: &Frozen) -> Result<(), PortError> {
        let newest = newest_correction(frozen);
        if newest.is_some() {
            // Until a repeat after a failure, which may have corrected after all, has succeeded.
            self.figures.corrections.set(None);
        }
        let known = &mut self.known.lock();
        flush(&*self.ports.store, self.id, frozen, self.leaders(), known)?;
        if newest.is_some() {
            self.figures.corrections.set(newest);
        }
        Ok(())
    }

    /// Which corrections are in the rows; none while some are being written.
    pub(crate) fn corrections(&self) -> Option<u64> {
        self.figures.corrections.get()
    }

    /// Flushes, again and again while the store is away; false when that is no use any more.
    fn flush_until_done(&self, frozen: &Frozen) -> bool {
        let next_offset = frozen.checkpoint.next_offset.0;
        // For collectors of traces; where there is none this is nothing.
        let _span =
            tracing::info_span!(target: "tally::trace", "flush", partition = self.id.0, next_offset)
                .entered();
        loop {
            let begun = self.ports.clock.now().monotonic_ms;
            match self.flush(frozen) {
                Ok(()) => {
                    let took = self.ports.clock.now().monotonic_ms.saturating_sub(begun);
                    self.ports.flush_durations.observe_ms(u64::try_from(took).unwrap_or(0));
                    self.flushed(&frozen.checkpoint);
                    return true;
                }
                Err(error)
                    if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded) =>
                {
                    self.figures.flush_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(
                        partition = self.id.0,
                        error = &error as &dyn std::error::Error,
                        "the counter store does not take a flush; the log keeps the events"
                    );
                    // Who stops does not wait for the store: the log has it all.
                    if self.memory.wait_closed(RETRY) || self.is_stopping.load(Ordering::Relaxed) {
                        self.memory.close();
                        return false;
                    }
                }
                Err(error) => {
                    self.give_up(&error);
                    self.memory.close();
                    return false;
                }
            }
        }
    }

    pub(super) fn flushed(&self, checkpoint: &Checkpoint) {
        let now = self.ports.clock.now().monotonic_ms as u64;
        self.figures.checkpoint_at.store(now, Ordering::Relaxed);
        // Whoever sees this offset finds its corrections in the store.
        self.figures.checkpoint_offset.store(checkpoint.next_offset.0, Ordering::Release);
        self.memory.flushed();
        let needed = checkpoint.window_start_offset.min(checkpoint.next_offset);
        if let Err(error) = self.ports.log.trim(self.id, needed) {
            tracing::warn!(
                partition = self.id.0,
                error = &error as &dyn std::error::Error,
                "old segments cannot be removed"
            );
        }
    }

    fn give_up(&self, error: &PortError) {
        if self.is_leaving.load(Ordering::Relaxed) {
            tracing::warn!(
                partition = self.id.0,
                error = error as &dyn std::error::Error,
                "the partition was left with something unflushed; whoever has it now counts it again"
            );
            return;
        }
        let is_taken = error.kind == ErrorKind::Conflict;
        let may_pass =
            is_taken || matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded);
        if self.is_opened_anew && may_pass {
            tracing::warn!(
                partition = self.id.0,
                error = error as &dyn std::error::Error,
                "the partition cannot be counted on here; it is begun anew if it stays with this process"
            );
            return self.leave(is_taken);
        }
        tracing::error!(
            partition = self.id.0,
            error = error as &dyn std::error::Error,
            "the partition has stopped; nothing is lost, but nothing more is counted"
        );
        self.figures.is_stopped.store(true, Ordering::Relaxed);
        self.ports.admission.partition_stopped(self.id.0);
    }

    /// Records between what is counted and the end the log had at start.
    pub(crate) fn replay_left(&self) -> u64 {
        self.replay_end.0.saturating_sub(self.next_offset().0)
    }

    /// The first offset not yet counted; its events before are in memory or in the store.
    pub(crate) fn next_offset(&self) -> Offset {
        Offset(self.figures.next_offset.load(Ordering::Acquire))
    }

    /// Rises whenever something is counted or flushed.
    pub(crate) fn progress(&self) -> u64 {
        let flushed = self.figures.checkpoint_offset.load(Ordering::Acquire);
        self.next_offset().0.wrapping_add(flushed)
    }

    /// Append time of the newest counted batch.
    pub(crate) fn append_time(&self) -> TimestampMs {
        TimestampMs(self.figures.append_time.load(Ordering::Relaxed) as i64)
    }

    /// Everything acknowledged before this is counted. `durable_offset` was the end of the log at `now`, or
    /// later. Where the first event for hours is about to be counted, that is a moment ago and not hours.
    pub(crate) fn complete_until(&self, now: TimestampMs, durable_offset: Offset) -> TimestampMs {
        let complete = &self.figures.complete_until;
        if self.next_offset() >= durable_offset {
            complete.fetch_max(now.0 as u64, Ordering::Relaxed);
            return now;
        }
        self.append_time().max(TimestampMs(complete.load(Ordering::Relaxed) as i64))
    }

    pub(crate) fn status(&self) -> PartitionStatus {
        let figures = &self.figures;
        let next_offset = self.next_offset();
        let bounds = self.ports.log.bounds(self.id);
        let checkpoint_offset = Offset(figures.checkpoint_offset.load(Ordering::Relaxed));
        let now = self.ports.clock.now().monotonic_ms as u64;
        let checkpoint_at = figures.checkpoint_at.load(Ordering::Relaxed);
        let is_all_flushed = checkpoint_offset >= next_offset;
        PartitionStatus {
            partition: self.id,
            log_epoch: bounds.log_epoch,
            start_offset: bounds.start_offset,
            durable_offset: bounds.durable_offset,
            next_offset,
            checkpoint_offset,
            lag: bounds.durable_offset.0.saturating_sub(next_offset.0),
            append_time: self.append_time(),
            checkpoint_age_ms: if is_all_flushed { 0 } else { now.saturating_sub(checkpoint_at) },
            counted: figures.counted.load(Ordering::Relaxed),
            duplicates: figures.duplicates.load(Ordering::Relaxed),
            dead_letters: figures.dead_letters.load(Ordering::Relaxed),
            dedup_ids: figures.dedup_ids.load(Ordering::Relaxed),
            dedup_bytes: figures.dedup_bytes.load(Ordering::Relaxed),
            horizons: self.memory.look(|tables| tables.horizons()),
            folded_rows: figures.folded_rows.load(Ordering::Relaxed),
            flush_errors: figures.flush_errors.load(Ordering::Relaxed),
            is_stopped: figures.is_stopped.load(Ordering::Relaxed),
        }
    }
}
