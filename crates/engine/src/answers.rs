//! Answers that are given again without being made again, and how long that is right.
//!
//! A cached answer is given only where it could be the answer of now, by what its range is:
//!
//! | range | may be given again | because |
//! |---|---|---|
//! | final, and has been for ten minutes | for minutes | no event of it is accepted any more |
//! | closed: is over | while nothing at all has been counted since | it may still grow, and what a question has returned never goes down |
//! | open | for a quarter of a second | it grows all the time; `as_of` says how old it is |
//!
//! A correction is the only way in which a number goes down. Each one makes another key of every
//! question, in every process that shares the cache: the store says which there are. While one is being written
//! nothing is given from the cache or put into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use model::{TimeRange, TimestampMs};

use crate::ports::{PortError, QueryCache};
use crate::query::{Query, QueryError};

/// How long an answer over a final range is kept. Whatever it says stays right; its `as_of` should
/// not be hours old.
const FINAL_LIFE_MS: u64 = 10 * 60_000;
/// For so long a range must have been final. A request is judged by its arrival, and what it brings may
/// be written when it has been parsed and the log has room.
pub(crate) const SETTLED_MS: i64 = 10 * 60_000;
/// How long an answer over a closed range is kept where nothing was counted: its `as_of` moves on.
const CLOSED_LIFE_MS: u64 = 1_000;
/// How long an answer over an open range is kept. With it an accepted event still shows within a
/// second.
const OPEN_LIFE_MS: u64 = 250;

/// Gives answers from a cache, or makes them.
pub struct Answers {
    query: Arc<Query>,
    cache: Option<Arc<dyn QueryCache>>,
    /// The highest time at which a question was asked: what was closed once stays closed.
    newest_ms: AtomicI64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How often the cache had an answer, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Answers that were given again.
    pub hits: u64,
    /// Answers that were made.
    pub misses: u64,
}

/// What a question about a range depends on, apart from what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// As it would be answered.
    pub(crate) range: TimeRange,
    /// The finest step of an answer.
    pub(crate) finest: model::Granularity,
    /// The time of the question; `as_of` is at or before it.
    pub(crate) now: TimestampMs,
    /// Whether the range has been final for [`SETTLED_MS`].
    pub(crate) is_settled: bool,
    /// Rises with whatever is counted.
    pub(crate) counted: u64,
    /// Rises with every start.
    pub(crate) log_epochs: u64,
    /// Another one after every correction; none while one is being written.
    pub(crate) corrections: Option<u64>,
}

impl Answers {
    /// Answers of a query; without a cache each is made.
    pub fn new(query: Arc<Query>, cache: Option<Arc<dyn QueryCache>>) -> Self {
        let (newest_ms, hits, misses) = Default::default();
        Self { query, cache, newest_ms, hits, misses }
    }

    /// Who makes them.
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// Whether there is a cache.
    pub fn are_kept(&self) -> bool {
        self.cache.is_some()
    }

    /// How often the cache had an answer.
    pub fn figures(&self) -> CacheFigures {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        CacheFigures { hits: of(&self.hits), misses: of(&self.misses) }
    }

    /// The answer to a question about a range, as `make` makes it. Questions that could have different
    /// answers must have different texts; what an answer shows beside counts of the range, such as
    /// titles, does not belong in it.
    ///
    /// # Errors
    /// Where questions cannot be answered now, and what `make` says. Nothing else: a cache that fails is
    /// as good as none.
    pub fn answer<E: From<QueryError>>(
        &self,
        question: &[u8],
        range: TimeRange,
        make: impl FnOnce(&Query) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let Some(cache) = &self.cache else { return make(&self.query) };
        self.query.ready()?;
        let mut standing = self.query.standing(range);
        let newest = self.newest_ms.fetch_max(standing.now.0, Ordering::Relaxed);
        standing.now.0 = standing.now.0.max(newest);
        let Some(corrections) = standing.corrections else { return make(&self.query) };
        let (key, life_ms) = key(question, &standing, corrections);
        match cache.get(&key) {
            Ok(Some(answer)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(None) => {}
            Err(error) => forgive(&error),
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let answer = make(&self.query)?;
        // One that a correction overtook may be of before or after it.
        if self.query.corrections() == Some(corrections)
            && let Err(error) = cache.put(&key, answer.clone(), life_ms)
        {
            forgive(&error);
        }
        Ok(answer)
    }
}

fn forgive(error: &PortError) {
    tracing::debug!(error = error as &dyn std::error::Error, "the query cache failed");
}

/// The key of a question and how long its answer may be given.
fn key(question: &[u8], standing: &Standing, corrections: u64) -> (Vec<u8>, u64) {
    let Standing { range, finest, now, is_settled, counted, log_epochs, .. } = *standing;
    let is_closed = range.end.start() <= now;
    let (class, counted, life_ms) = match (is_settled, is_closed) {
        (true, _) => (b'F', 0, FINAL_LIFE_MS),
        (false, true) => (b'C', counted, CLOSED_LIFE_MS),
        (false, false) => (b'O', 0, OPEN_LIFE_MS),
    };
    let mut key = vec![class, finest as u8];
    for number in [log_epochs, corrections, counted] {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key.extend_from_slice(&range.start.0.to_be_bytes());
    key.extend_from_slice(&range.end.0.to_be_bytes());
    key.extend_from_slice(question);
    (key, life_ms)
}
