//! How records become counts: judged in log order, added to memory a chunk at a time.
//!
//! This is where an event becomes a count. It is a pure function of the log: no clock, no chance.

use std::collections::VecDeque;
use std::sync::Arc;

use model::aggregate::CountedEvent;
use model::bucket::{HOUR_MS, MINUTE_MS};
use model::control::Control;
use model::dedup::DedupWindow;
use model::record::{Record, RecordError, split};
use model::source::Stamped;
use model::{Batch, BulkEntry, Checkpoint, DeadLetter, Horizons, Offset, Retention, TimestampMs};

use super::memory::{Beside, Memory};
use crate::sources::SourceBook;

/// Records between two looks at the memory's lock: a question waits some tens of microseconds at
/// most.
const CHUNK_RECORDS: usize = 256;

/// One partition's place in its log and what judging the next record needs.
pub struct Counting {
    dedup: DedupWindow,
    /// First offset of each append minute within the window.
    minute_starts: VecDeque<(u32, Offset)>,
    log_epoch: u32,
    next_offset: Offset,
    append_time: TimestampMs,
    sources: Arc<SourceBook>,
    /// The append hour in which sources were last looked through for forgotten ones.
    sources_swept: i64,
    retention: Retention,
    horizons: Horizons,
    /// The newest append time of the records that the dedup window was rebuilt from.
    rebuilt_until: TimestampMs,
    tally: Tally,
}

/// What became of the records since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that were counted.
    pub counted: u64,
    /// Events that had been appended within the dedup window, or by their source before.
    pub duplicates: u64,
    /// Records that could not be counted.
    pub dead_letters: u64,
}

/// Why a batch cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountingError {
    /// The log gave out something else than what comes next.
    #[error("the log gave offset {got} where {expected} comes next")]
    Gap {
        /// What comes next.
        expected: Offset,
        /// The first offset of the batch.
        got: Offset,
    },
    /// A control record cannot be read, so that what follows cannot be judged.
    #[error("the control record at offset {offset} cannot be read: {reason}")]
    Control {
        /// Where it stands.
        offset: Offset,
        /// What is wrong with it.
        reason: RecordError,
    },
}

/// Records that were read and wait to be judged together.
struct Chunk<'a> {
    append_time: TimestampMs,
    horizons: Horizons,
    /// To be counted unless they are duplicates.
    records: Vec<CountedEvent<'a>>,
    /// The hash of each one's id.
    hashes: Vec<u128>,
    /// Those that carry a source, each with its place among the records.
    stamped: Vec<Stamped<'a>>,
    stamped_at: Vec<usize>,
    beside: Beside,
}

impl<'a> Chunk<'a> {
    fn new(append_time: TimestampMs, horizons: Horizons) -> Self {
        Self {
            append_time,
            horizons,
            records: Vec::with_capacity(CHUNK_RECORDS),
            hashes: Vec::with_capacity(CHUNK_RECORDS),
            stamped: Vec::new(),
            stamped_at: Vec::new(),
            beside: Beside::default(),
        }
    }

    fn read(&mut self, offset: Offset, bytes: Result<&'a [u8], RecordError>, dedup: &DedupWindow) {
        match bytes.and_then(Record::read) {
            Ok(record) => {
                self.hashes.push(dedup.hash(&record));
                let Record { item, event_type, time, value, source, .. } = record;
                if let Some((source, sequence)) = source {
                    self.stamped.push(Stamped { source, sequence, offset });
                    self.stamped_at.push(self.records.len());
                }
                let slot = self.horizons.slot(time.minute());
                self.records.push(CountedEvent { item, event_type, slot, value });
            }
            Err(reason) => {
                let record = bytes.unwrap_or_default().to_vec();
                let append_time = self.append_time;
                let dead = &mut self.beside.dead_letters;
                dead.push(DeadLetter { offset, append_time, reason, record });
            }
        }
    }
}

impl Counting {
    /// Begins at a checkpoint, or at the start of a log. `dedup_minutes` holds until the first
    /// control record, which every log begins with.
    pub fn new(checkpoint: Option<&Checkpoint>, dedup_minutes: u32, hash_keys: (u64, u64)) -> Self {
        let fresh = Checkpoint { window_minutes: dedup_minutes, ..Checkpoint::default() };
        let from = checkpoint.unwrap_or(&fresh);
        Self {
            dedup: DedupWindow::resume(from.window_minutes, from.window_start_minute, hash_keys),
            minute_starts: VecDeque::new(),
            log_epoch: from.log_epoch,
            next_offset: from.next_offset,
            append_time: from.append_time,
            sources: Arc::default(),
            sources_swept: i64::MIN,
            retention: from.retention,
            horizons: from.horizons,
            rebuilt_until: TimestampMs(0),
            tally: Tally::default(),
        }
    }

    /// With the sources that the checkpoint goes with.
    #[must_use]
    pub fn with_sources(self, sources: Arc<SourceBook>) -> Self {
        Self { sources, ..self }
    }

    /// Notes the ids of records below the checkpoint, without counting them again.
    pub fn rebuild(&mut self, batch: &Batch<impl AsRef<[u8]>>, from: Offset) {
        // The running maximum, as it was when they were counted: it begins anew with the first record
        // of the window, which is one that had raised it.
        self.rebuilt_until = self.rebuilt_until.max(batch.append_time);
        let append_time = self.rebuilt_until;
        let is_too_old = minute_of(append_time) < self.dedup.start_minute();
        if batch.is_control || is_too_old || batch.base_offset >= self.next_offset {
            return;
        }
        self.enter_minute(append_time, batch.base_offset.max(from));
        let mut offset = batch.base_offset;
        let mut hashes = Vec::with_capacity(CHUNK_RECORDS);
        for record in split(batch.payload.as_ref()) {
            if (from..self.next_offset).contains(&offset)
                && let Ok(record) = record.and_then(Record::read)
            {
                hashes.push(self.dedup.hash(&record));
                if hashes.len() >= CHUNK_RECORDS {
                    self.observe_all(&mut hashes);
                }
            }
            offset = offset.plus(1);
        }
        self.observe_all(&mut hashes);
    }

    /// Notes ids of records that are counted already.
    fn observe_all(&mut self, hashes: &mut Vec<u128>) {
        self.dedup.fetch(hashes);
        for hash in hashes.drain(..) {
            self.dedup.observe(hash);
        }
    }

    /// Makes room for so many ids that [`Self::rebuild`] is about to note.
    pub fn expect_ids(&mut self, ids: u64) {
        self.dedup.reserve(ids);
    }

    /// Judges and counts the records of a batch that come next.
    pub fn apply(
        &mut self,
        batch: &Batch<impl AsRef<[u8]>>,
        memory: &Memory,
    ) -> Result<(), CountingError> {
        if batch.base_offset > self.next_offset {
            let (expected, got) = (self.next_offset, batch.base_offset);
            return Err(CountingError::Gap { expected, got });
        }
        if batch.next_offset() <= self.next_offset {
            return Ok(());
        }
        self.log_epoch = batch.log_epoch;
        self.append_time = self.append_time.max(batch.append_time);
        self.enter_minute(self.append_time, self.next_offset);
        self.horizons.advance(self.append_time, self.retention);
        let mut chunk = Chunk::new(self.append_time, self.horizons);
        self.sweep_sources(&mut chunk.beside);
        if batch.is_control {
            self.control(batch, &mut chunk.beside)?;
            self.commit(batch.next_offset(), &mut chunk, memory);
            return Ok(());
        }
        let mut offset = batch.base_offset;
        let ends_at = memory.ends_at();
        for bytes in split(batch.payload.as_ref()) {
            if offset >= self.next_offset {
                chunk.read(offset, bytes, &self.dedup);
            }
            offset = offset.plus(1);
            if chunk.records.len() >= CHUNK_RECORDS || ends_at == Some(offset) {
                self.commit(offset, &mut chunk, memory);
            }
        }
        if offset != batch.next_offset() {
            chunk.read(offset, Err(RecordError::Length), &self.dedup);
        }
        self.commit(batch.next_offset(), &mut chunk, memory);
        Ok(())
    }

    /// Moves the dedup window on to a record's append time.
    fn enter_minute(&mut self, append_time: TimestampMs, offset: Offset) {
        let minute = minute_of(append_time);
        self.dedup.advance(minute);
        if self.minute_starts.back().is_none_or(|(newest, _)| *newest < minute) {
            self.minute_starts.push_back((minute, offset));
        }
        self.forget_minutes();
    }

    fn forget_minutes(&mut self) {
        let start = self.dedup.start_minute();
        while self.minute_starts.front().is_some_and(|(minute, _)| *minute < start) {
            self.minute_starts.pop_front();
        }
    }

    /// Minds control records; those about rows are for the flush.
    fn control(
        &mut self,
        batch: &Batch<impl AsRef<[u8]>>,
        beside: &mut Beside,
    ) -> Result<(), CountingError> {
        let mut offset = batch.base_offset;
        for control in Control::read_all(batch.payload.as_ref()) {
            match control {
                Ok(Control::Settings { dedup_minutes }) => {
                    self.dedup.set_minutes(dedup_minutes);
                    self.forget_minutes();
                }
                Ok(Control::Retention(retention)) => {
                    self.retention = retention;
                    self.horizons.advance(self.append_time, retention);
                }
                Ok(Control::Vacant) => {}
                Ok(Control::BulkObject(object)) if offset >= self.next_offset => {
                    let append_time = self.append_time;
                    beside.bulk.push(BulkEntry { offset, append_time, object });
                }
                Ok(Control::Refused(refused)) if offset >= self.next_offset => {
                    let marks = &mut beside.sources;
                    self.sources.refuse(&refused, self.append_time, offset, marks);
                }
                // The start is in the middle of a batch only where the batch was judged in part.
                Ok(control) if offset >= self.next_offset => {
                    beside.controls.push((offset, control))
                }
                Ok(_) => {}
                Err(reason) => return Err(CountingError::Control { offset, reason }),
            }
            offset = offset.plus(1);
        }
        Ok(())
    }

    /// Once an append hour, forgets the sources that were not heard of for long. What a source is
    /// worth does not depend on when that is done.
    fn sweep_sources(&mut self, beside: &mut Beside) {
        let hour = self.append_time.0.div_euclid(HOUR_MS);
        if hour > self.sources_swept {
            self.sources_swept = hour;
            self.sources.sweep(self.append_time, &mut beside.sources);
        }
    }

    /// Judges records of which some carry a source: each is seen by the dedup window and by its
    /// source, and counts if it is new to both.
    fn judge_stamped(&mut self, chunk: &mut Chunk<'_>) {
        let Chunk { records, hashes, stamped, stamped_at, beside, .. } = chunk;
        let repeats = self.sources.observe(stamped, self.append_time, &mut beside.sources);
        let mut repeats = stamped_at.drain(..).zip(repeats).peekable();
        let dedup = &mut self.dedup;
        let mut is_new = hashes.drain(..).enumerate().map(|(at, hash)| {
            let by_source = repeats.next_if(|(place, _)| *place == at);
            !dedup.observe(hash) && !by_source.is_some_and(|(_, is_repeat)| is_repeat)
        });
        records.retain(|_| is_new.next().is_some_and(|is_new| is_new));
        stamped.clear();
    }

    /// Judges a chunk and counts what is no duplicate.
    fn commit(&mut self, next: Offset, chunk: &mut Chunk<'_>, memory: &Memory) {
        let read = chunk.records.len();
        self.dedup.fetch(&chunk.hashes);
        if chunk.stamped.is_empty() {
            let dedup = &mut self.dedup;
            let mut is_new = chunk.hashes.drain(..).map(|hash| !dedup.observe(hash));
            chunk.records.retain(|_| is_new.next().is_some_and(|is_new| is_new));
        } else {
            self.judge_stamped(chunk);
        }
        self.tally.counted += chunk.records.len() as u64;
        self.tally.duplicates += (read - chunk.records.len()) as u64;
        self.tally.dead_letters += chunk.beside.dead_letters.len() as u64;
        self.next_offset = next;
        memory.commit(&self.checkpoint(), &mut chunk.beside, &chunk.records);
        chunk.records.clear();
        self.dedup.sweep_a_shard();
    }

    /// The checkpoint that goes with everything counted so far.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            log_epoch: self.log_epoch,
            next_offset: self.next_offset,
            append_time: self.append_time,
            window_start_offset: self
                .minute_starts
                .front()
                .map_or(self.next_offset, |(_, offset)| *offset),
            window_start_minute: self.dedup.start_minute(),
            window_minutes: self.dedup.minutes(),
            retention: self.retention,
            horizons: self.horizons,
        }
    }

    /// The first offset not yet counted.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// What became of the records so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Number of ids in the dedup window, and its memory in bytes.
    pub fn dedup_size(&self) -> (u64, u64) {
        (self.dedup.ids(), self.dedup.bytes())
    }
}

/// The append minute that the dedup window counts in.
fn minute_of(append_time: TimestampMs) -> u32 {
    (append_time.0 / MINUTE_MS) as u32
}
