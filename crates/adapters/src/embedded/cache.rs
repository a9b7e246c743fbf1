//! The query cache in the process: what was asked for least recently goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use engine::ports::{Clock, PortError, QueryCache};
use parking_lot::Mutex;

/// What an entry takes beside its key, which is kept twice, and its answer: parts of two trees.
const ENTRY_BYTES: u64 = 200;
/// An answer larger than this share of the cache is not kept: it would drive out too many others.
const SHARE_MAX: u64 = 8;

/// Answers in memory.
pub struct MemoryCache {
    bytes_max: u64,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Keys by when they were last asked for.
    by_use: BTreeMap<u64, Arc<[u8]>>,
    uses: u64,
    bytes: u64,
}

struct Entry {
    answer: Bytes,
    /// By the monotonic clock, in milliseconds.
    ends_ms: i64,
    last_use: u64,
}

impl MemoryCache {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes_max: u64, clock: Arc<dyn Clock>) -> Self {
        Self { bytes_max, clock, state: Mutex::default() }
    }

    /// Bytes it takes now, estimated.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }
}

fn bytes_of(key: &[u8], answer: &Bytes) -> u64 {
    ENTRY_BYTES + (key.len() + answer.len()) as u64
}

impl State {
    fn remove(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.by_use.remove(&entry.last_use);
            self.bytes -= bytes_of(&key, &entry.answer);
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

impl QueryCache for MemoryCache {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, PortError> {
        let now = self.clock.now().monotonic_ms;
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(entry) = state.entries.get(key) else { return Ok(None) };
        if entry.ends_ms <= now {
            state.remove(key);
            return Ok(None);
        }
        let this_use = state.next_use();
        let Some(entry) = state.entries.get_mut(key) else { return Ok(None) };
        if let Some(key) = state.by_use.remove(&entry.last_use) {
            state.by_use.insert(this_use, key);
        }
        entry.last_use = this_use;
        Ok(Some(entry.answer.clone()))
    }

    fn put(&self, key: &[u8], answer: Bytes, life_ms: u64) -> Result<(), PortError> {
        let now = self.clock.now().monotonic_ms;
        let ends_ms = now.saturating_add(i64::try_from(life_ms).unwrap_or(i64::MAX));
        let bytes = bytes_of(key, &answer);
        let mut state = self.state.lock();
        // An older answer is not to stay, whatever becomes of this one.
        state.remove(key);
        if bytes > self.bytes_max / SHARE_MAX || ends_ms <= now {
            return Ok(());
        }
        let last_use = state.next_use();
        let key: Arc<[u8]> = key.into();
        state.by_use.insert(last_use, key.clone());
        state.entries.insert(key, Entry { answer, ends_ms, last_use });
        state.bytes += bytes;
        while state.bytes > self.bytes_max
            && let Some((_, oldest)) = state.by_use.first_key_value()
        {
            let oldest = oldest.clone();
            state.remove(&oldest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::conformance::query_cache;

    use super::*;

    #[test]
    fn behaves_as_a_query_cache() {
        query_cache::all(|clock, bytes| Box::new(MemoryCache::new(bytes, clock)));
    }

    #[test]
    fn its_bytes_are_those_of_what_it_holds() {
        let clock = Arc::new(query_cache::SetClock::default());
        let cache = MemoryCache::new(64 << 10, clock.clone());
        for n in 0..500u32 {
            let key = (n % 90).to_be_bytes();
            cache.put(&key, Bytes::from(vec![0; n as usize]), 10).unwrap();
            let state = cache.state.lock();
            let held = state.entries.iter().map(|(key, entry)| bytes_of(key, &entry.answer));
            assert_eq!(held.sum::<u64>(), state.bytes);
            assert_eq!(state.entries.len(), state.by_use.len());
            assert!(state.bytes <= 64 << 10);
        }
        clock.pass(10);
        (0..90u32).for_each(|n| assert_eq!(cache.get(&n.to_be_bytes()).unwrap(), None));
        assert_eq!(cache.bytes(), 0);
    }
}
