//! What is written together: all of it, or nothing.
//!
//! A few changes go into fjall's journal and memtable. Many go at once into tables of their own, which
//! become part of the store in one step: they are not written twice, not sorted in memory again, and a
//! restart does not read them from a journal.

use std::time::Duration;

use fjall::{AbstractTree, Database, Keyspace, OwnedWriteBatch, PersistMode};

use super::tuning::RUNS_MAX;

/// Changes by key, in any order. Of two of the same key the later counts.
#[derive(Default)]
pub(super) struct Changes {
    /// Keys and values one behind the other.
    bytes: Vec<u8>,
    all: Vec<Change>,
}

struct Change {
    /// Where its key begins.
    start: usize,
    key_len: u32,
    /// The value lies behind the key; [`REMOVED`] where the key is removed.
    value_len: u32,
}

/// No value is so long.
const REMOVED: u32 = u32::MAX;
/// What a change of a row takes, of nearly all.
const CHANGE_BYTES: usize = 48;

impl Changes {
    /// No change, with room for so many.
    pub(super) fn with_capacity(changes: usize) -> Self {
        let bytes = Vec::with_capacity(changes * CHANGE_BYTES);
        Self { bytes, all: Vec::with_capacity(changes) }
    }

    pub(super) fn insert(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(key.as_ref(), Some(value.as_ref()));
    }

    pub(super) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.push(key.as_ref(), None);
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let short = |len: usize| u32::try_from(len).expect("keys and values are short");
        let value_len = value.map_or(REMOVED, |value| short(value.len()));
        self.all.push(Change { start, key_len: short(key.len()), value_len });
    }

    fn key(&self, change: &Change) -> &[u8] {
        &self.bytes[change.start..][..change.key_len as usize]
    }

    fn value(&self, change: &Change) -> Option<&[u8]> {
        let start = change.start + change.key_len as usize;
        (change.value_len != REMOVED).then(|| &self.bytes[start..][..change.value_len as usize])
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Writes all of it through the journal, durable when this returns.
    pub(super) fn journal(self, db: &Database, rows: &Keyspace) -> fjall::Result<()> {
        let mut batch = OwnedWriteBatch::with_capacity(db.clone(), self.all.len())
            .durability(Some(PersistMode::SyncData));
        for change in &self.all {
            match self.value(change) {
                Some(value) => batch.insert(rows, self.key(change), value),
                None => batch.remove(rows, self.key(change)),
            }
        }
        batch.commit()
    }

    /// Writes all of it into tables of their own, durable and part of the store when this returns.
    /// Nobody else may write meanwhile.
    pub(super) fn ingest(mut self, rows: &Keyspace) -> fjall::Result<()> {
        // fjall holds writers of a journal back where merges do not keep up, but not these.
        while rows.tree.l0_run_count() >= RUNS_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut all = std::mem::take(&mut self.all);
        // In runs that are in order already. Of one key the later stays behind.
        all.sort_by(|a, b| self.key(a).cmp(self.key(b)));
        let mut ingestion = rows.start_ingestion()?;
        let mut rest = all.iter().peekable();
        while let Some(change) = rest.next() {
            let key = self.key(change);
            if rest.peek().is_some_and(|next| self.key(next) == key) {
                continue;
            }
            match self.value(change) {
                Some(value) => ingestion.write(key, value)?,
                None => ingestion.write_tombstone(key)?,
            }
        }
        ingestion.finish()
    }
}
