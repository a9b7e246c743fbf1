//! What a tracker has done so far.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::endpoints::EndpointMetrics;

/// Different codes that are told apart; what more there are is counted as `other`.
const CODES_MAX: usize = 64;

/// What a tracker has done since its start. Events, unless said otherwise. With nothing on its way
/// `tracked` is the sum of `accepted`, `rejected`, `lost` and `spooled` without what was drained.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TrackerMetrics {
    /// Taken into the buffer.
    pub tracked: u64,
    /// Not taken, because the buffer was full.
    pub dropped: u64,
    /// In requests that were sent, repeats included.
    pub sent: u64,
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Of these requests the repeats, each paid from the retry budget.
    pub retries: u64,
    /// In these repeats.
    pub retried: u64,
    /// Accepted by a server, those that came from the spool included.
    pub accepted: u64,
    /// Refused for good, by code; those that came from the spool included.
    pub rejected: BTreeMap<String, u64>,
    /// Given up.
    pub lost: u64,
    /// Made safe on disk.
    pub spooled: u64,
    /// Of what was spooled, now or by an earlier run: settled by a server since.
    pub drained: u64,
    /// Still in the spool, what an earlier run left included.
    pub spool_events: u64,
    /// Bytes of the spool's files.
    pub spool_bytes: u64,
    /// Bytes of the spool that were bad; their files are kept as `.damaged`.
    pub spool_damaged_bytes: u64,
    /// Bytes at the ends of the spool's files that were cut at the start: what was being written when
    /// an earlier run died, which was not safe yet.
    pub spool_cut_bytes: u64,
    /// Times that the spool did not take or give an entry: full, or the disk failed.
    pub spool_errors: u64,
    /// Places of the buffer in use.
    pub buffered: u64,
    /// How each endpoint fares.
    pub endpoints: Vec<EndpointMetrics>,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) tracked: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) spooled: AtomicU64,
    pub(super) drained: AtomicU64,
    pub(super) spool_errors: AtomicU64,
    rejected: Mutex<BTreeMap<String, u64>>,
}

pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn rejected(&self, code: &str, events: u64) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = rejected.contains_key(code) || rejected.len() < CODES_MAX;
        let code = if is_known { code } else { "other" };
        *rejected.entry(code.to_owned()).or_default() += events;
    }

    /// All but what others know.
    pub(super) fn snapshot(&self) -> TrackerMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrackerMetrics {
            tracked: get(&self.tracked),
            dropped: get(&self.dropped),
            sent: get(&self.sent),
            requests: get(&self.requests),
            retries: get(&self.retries),
            retried: get(&self.retried),
            accepted: get(&self.accepted),
            rejected: self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lost: get(&self.lost),
            spooled: get(&self.spooled),
            drained: get(&self.drained),
            spool_errors: get(&self.spool_errors),
            ..TrackerMetrics::default()
        }
    }
}
