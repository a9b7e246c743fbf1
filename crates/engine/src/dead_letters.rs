//! What can be done about a dead letter: look at it, replay it, drop it. A replay is counted at
//! most once, however often it is asked for and wherever the process dies in between.
//!
//! Before a replay's record goes to the log, the store holds what is written and from which offset
//! on it will be found (`Replaying`). Whoever finds a letter in that state reads the log from there:
//! the record is in it, and the replay is done; or it is not, and a log that was opened anew since
//! will never show it. So no dedup window has to reach that far. See
//! `docs/decisions/0003-dead-letter-replay.md`.

use std::sync::Arc;

use futures::executor::block_on;
use model::record::split;
use model::{Event, Offset, PartitionId, RecordBuf, Violation};
use parking_lot::Mutex;

use crate::admission::Refusal;
use crate::gateway::Gateway;
use crate::ports::{
    Clock, CounterStore, ErrorKind, EventLog, LetterState, PortError, Replay, StoredDeadLetter,
};

/// Payload read from the log at a time.
const READ_BYTES: usize = 1 << 20;

/// Where a dead letter stands: its partition, and its offset there.
pub type Place = (PartitionId, Offset);

/// Some dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In partition and offset order.
    pub letters: Vec<(PartitionId, StoredDeadLetter)>,
    /// Where there are more: the place of the next one.
    pub next: Option<Place>,
}

/// Looks at dead letters and settles them. Blocks: not for async threads.
pub struct DeadLetters {
    gateway: Arc<Gateway>,
    log: Arc<dyn EventLog>,
    store: Arc<dyn CounterStore>,
    clock: Arc<dyn Clock>,
    /// One replay or drop at a time: none sees another half done.
    settling: Mutex<()>,
}

/// Why a dead letter was not settled as asked.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// There is none at this place; one that was found a moment ago is not flushed yet.
    #[error("there is no dead letter at {}/{}", .0.0, .0.1)]
    NotFound(Place),
    /// It was replayed; what was written is in the state.
    #[error("the dead letter was replayed and is not counted again")]
    Replayed(Replay),
    /// It was dropped.
    #[error("the dead letter was dropped")]
    Dropped,
    /// Events are not accepted now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The event breaks a rule.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The log failed while it wrote the replay, and shows only after a restart whether it did.
    #[error("the replay may or may not be in the log; after a restart of the server ask again")]
    InDoubt,
    /// Whether an earlier replay was written can no longer be told: the log let go of that part.
    #[error(
        "an earlier replay did not end, and the log no longer holds the records from {}/{} on that \
         would tell whether it was written; the letter cannot be replayed without the risk of \
         counting it twice",
        .0.partition, .0.from
    )]
    Unprovable(Replay),
    /// Log or store failed; nothing of the replay was written.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl DeadLetters {
    /// Over the same log and store as the gateway and the processors.
    pub fn new(
        gateway: Arc<Gateway>,
        log: Arc<dyn EventLog>,
        store: Arc<dyn CounterStore>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { gateway, log, store, clock, settling: Mutex::new(()) }
    }

    /// At most `limit` letters, those of one partition or of all, from a place on.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn list(
        &self,
        only: Option<PartitionId>,
        from: Place,
        limit: usize,
    ) -> Result<Page, PortError> {
        let snapshot = self.store.snapshot()?;
        let mut letters = Vec::new();
        let is_asked = |id: &PartitionId| only.is_none_or(|only| only == *id) && *id >= from.0;
        for id in (0..self.log.partitions()).map(PartitionId).filter(is_asked) {
            let offset = if id == from.0 { from.1 } else { Offset(0) };
            // One more than asked for tells where the next page begins.
            for letter in snapshot.dead_letters(id, offset, limit + 1 - letters.len())? {
                if letters.len() == limit {
                    return Ok(Page { letters, next: Some((id, letter.offset)) });
                }
                letters.push((id, letter));
            }
        }
        Ok(Page { letters, next: None })
    }

    /// The letter at a place.
    ///
    /// # Errors
    /// `NotFound`, or where the store cannot be read.
    pub fn get(&self, place: Place) -> Result<StoredDeadLetter, LetterError> {
        let mut found = self.store.snapshot()?.dead_letters(place.0, place.1, 1)?;
        match found.pop() {
            Some(letter) if letter.offset == place.1 => Ok(letter),
            _ => Err(LetterError::NotFound(place)),
        }
    }

    /// Writes an event for a letter to the log, once, and says where it is to be found.
    ///
    /// # Errors
    /// See [`LetterError`]. After any but `InDoubt` it is certain that this call wrote nothing that
    /// will be counted beside what the letter's state says.
    pub fn replay(&self, place: Place, event: &Event<'_>) -> Result<Replay, LetterError> {
        let _alone = self.settling.lock();
        let state = self.unsettled(place)?;
        let mut batch = self.gateway.begin()?;
        batch.offer(0, event)?;
        let begun = self.begin(event, batch.partition_of(event));
        let replaying = LetterState::Replaying(begun.clone());
        self.store.mark(place.0, place.1, &state, &replaying)?;
        match block_on(batch.commit()) {
            Ok(outcome) if outcome.accepted == 1 => self.finish(place, begun),
            Ok(_) => Err(LetterError::InDoubt),
            Err(error) => {
                // Should this fail too, the next start finds that nothing was written.
                self.store.mark(place.0, place.1, &replaying, &LetterState::Open)?;
                Err(error.into())
            }
        }
    }

    /// Decides that a letter is never counted. A repeat changes nothing.
    ///
    /// # Errors
    /// `Replayed` where it is counted already; see [`LetterError`].
    pub fn discard(&self, place: Place) -> Result<(), LetterError> {
        let _alone = self.settling.lock();
        let state = match self.unsettled(place) {
            Err(LetterError::Dropped) => return Ok(()),
            // Not to be replayed is exactly what can still be decided.
            Err(LetterError::Unprovable(replay)) => LetterState::Replaying(replay),
            other => other?,
        };
        let at = self.clock.now().wall;
        Ok(self.store.mark(place.0, place.1, &state, &LetterState::Dropped { at })?)
    }

    /// The state of a letter that is neither replayed nor dropped, once that is certain.
    fn unsettled(&self, place: Place) -> Result<LetterState, LetterError> {
        match self.get(place)?.state {
            LetterState::Open => Ok(LetterState::Open),
            LetterState::Replayed(replay) => Err(LetterError::Replayed(replay)),
            LetterState::Dropped { .. } => Err(LetterError::Dropped),
            LetterState::Replaying(replay) => {
                if self.is_written(&replay)? {
                    return Err(LetterError::Replayed(self.finish(place, replay)?));
                }
                Ok(LetterState::Replaying(replay))
            }
        }
    }

    /// Whether a replay that was begun is in the log.
    fn is_written(&self, replay: &Replay) -> Result<bool, LetterError> {
        let bounds = self.log.bounds(replay.partition);
        if replay.from < bounds.start_offset {
            return Err(LetterError::Unprovable(replay.clone()));
        }
        let mut from = replay.from;
        while from < bounds.durable_offset {
            let read = self.log.read(replay.partition, from, READ_BYTES);
            let batches = block_on(read).map_err(|error| match error.kind {
                // Retention was faster.
                ErrorKind::Invalid => LetterError::Unprovable(replay.clone()),
                _ => error.into(),
            })?;
            for batch in batches {
                // A later process has not written what this one began.
                if batch.log_epoch > replay.log_epoch {
                    return Ok(false);
                }
                // The first batch may begin before the place that was asked for.
                let before = from.0.saturating_sub(batch.base_offset.0) as usize;
                let mut records = split(&batch.payload).skip(before);
                if !batch.is_control && records.any(|record| record == Ok(&replay.record[..])) {
                    return Ok(true);
                }
                from = from.max(batch.next_offset());
            }
        }
        // What an append in this very process left open shows only when the log is opened again.
        match replay.log_epoch < bounds.log_epoch {
            true => Ok(false),
            false => Err(LetterError::InDoubt),
        }
    }

    fn begin(&self, event: &Event<'_>, partition: PartitionId) -> Replay {
        let bounds = self.log.bounds(partition);
        let mut records = RecordBuf::new();
        records.push(event);
        let record = split(records.payload()).next().and_then(Result::ok).unwrap_or_default();
        Replay {
            at: self.clock.now().wall,
            partition,
            log_epoch: bounds.log_epoch,
            from: bounds.durable_offset,
            record: record.to_vec(),
        }
    }

    /// Notes that a replay is in the log.
    fn finish(&self, place: Place, begun: Replay) -> Result<Replay, LetterError> {
        let done = Replay { at: self.clock.now().wall, ..begun.clone() };
        let (from, to) = (LetterState::Replaying(begun), LetterState::Replayed(done.clone()));
        match self.store.mark(place.0, place.1, &from, &to) {
            Ok(()) => Ok(done),
            // It is in the log all the same; the next one who asks finds it there.
            Err(error) => {
                tracing::warn!(
                    partition = place.0.0,
                    offset = place.1.0,
                    error = &error as &dyn std::error::Error,
                    "a dead letter was replayed, but the store could not note it"
                );
                Ok(done)
            }
        }
    }
}

/// The id of a replayed event that has none of its own: the same for every replay of a letter.
pub fn replay_id(partition: PartitionId, letter: &StoredDeadLetter) -> String {
    format!("dead-letter-{partition}-{}-{}", letter.offset, letter.append_time.0)
}
