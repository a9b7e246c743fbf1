//! The counter store on fjall, a log-structured merge tree in the process.
//!
//! Knows where rows lie ([`keys`]) and what their bytes are ([`row`]); knows nothing of counting.
//!
//! A snapshot is not taken when it is asked for but at the end of each flush, and shared. Reads
//! never wait for a flush then, and see whole flushes only: fjall 3.1 makes a batch that is under
//! way visible in part whenever it writes a memtable out or merges tables meanwhile.

mod changes;
mod cold;
mod copy;
mod fold;
#[cfg(feature = "fuzz")]
pub(super) mod fuzz;
mod keys;
pub(crate) mod letters;
mod partitions;
pub(crate) mod repairs;
pub(crate) mod row;
mod snapshot;
mod tuning;
mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::ports::{
    Claim, CounterSnapshot, CounterStore, ErrorKind, Flush, Folded, LetterState, PortError, Rows,
};
use fjall::{AbstractTree, Database, Keyspace, PersistMode, Snapshot};
use model::{Day, Offset, PartitionId, RowKey};

use changes::Changes;
use parking_lot::{Mutex, RwLock};
use partitions::{Partition, Partitions};
use row::FORMAT_VERSION;
use snapshot::EmbeddedSnapshot;
pub use tuning::FREE_BYTES_MIN;

use crate::embedded::disk::{Disk, RealDisk};
use crate::embedded::fresh;

/// The name of the one keyspace.
const KEYSPACE: &str = "counters";

/// What an operator may turn.
#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// Memory for blocks read from disk, in bytes. Memtables come beside it.
    pub cache_bytes: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { cache_bytes: 128 << 20 }
    }
}

/// Counter rows, dead letters and checkpoints in a folder of this machine.
pub struct EmbeddedStore {
    db: Database,
    rows: Keyspace,
    folder: PathBuf,
    partitions: Arc<Partitions>,
    /// Held while a batch is under way, so that none is when the next snapshot is pinned.
    committing: Mutex<()>,
    /// Held while it is noted which days are cold.
    noting: Mutex<()>,
    /// What is stored after the last flush.
    pinned: RwLock<Arc<Snapshot>>,
    /// From so many changes on a flush becomes tables at once.
    ingested_min: usize,
}

impl EmbeddedStore {
    /// Opens the store in a folder of its own, or makes it.
    ///
    /// # Errors
    /// `Conflict` where another process has it open, `Invalid` where its format is not known,
    /// `Corrupt` where its bytes are wrong, `Unavailable` where the disk refuses.
    pub fn open(folder: &Path, settings: StoreSettings) -> Result<Self, PortError> {
        fresh::create(folder, make)?;
        let failed = |error| failure(&format!("open the counter store in {folder:?}"), error);
        let (db, rows) = open_database(folder, settings).map_err(failed)?;
        upgrade::upgrade(&db, &rows, folder)?;
        let stored = rows.get(keys::FORMAT).map_err(failed)?;
        fresh::check_format("counters", folder, stored.as_deref(), FORMAT_VERSION)?;
        let partitions = Arc::new(Partitions::load(&rows)?);
        let pinned = RwLock::new(Arc::new(db.snapshot()));
        let folder = folder.to_owned();
        let (committing, noting) = Default::default();
        let ingested_min = tuning::INGESTED_MIN;
        Ok(Self { db, rows, folder, partitions, committing, noting, pinned, ingested_min })
    }

    /// Bytes on disk, journals included; waits for a flush that is under way.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn disk_bytes(&self) -> Result<u64, PortError> {
        self.db.disk_space().map_err(|error| failure("measure the counter store", error))
    }

    /// Everything of a flush; what is never committed leaves no trace.
    fn changes(
        &self,
        flush: &Flush<'_>,
        rows: &mut Rows<'_>,
        partition: &Partition,
    ) -> Result<Changes, PortError> {
        let count = rows.size_hint().0 + flush.dead_letters.len() + 1;
        let mut changes = Changes::with_capacity(count);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut before = None;
        let (mut newest_hour, mut newest_day) = (None, None);
        for counter in rows {
            let counter = counter?;
            debug_assert!(before < Some(counter.key), "rows come in key order, no key twice");
            before = Some(counter.key);
            keys::row(&mut key, flush.partition, &counter.key);
            value.clear();
            row::write_row(&mut value, &counter.row);
            changes.insert(&key, &value);
            match counter.key {
                RowKey::Hour { hour, .. } if newest_hour != Some(hour) => {
                    partition.add_hour(hour);
                    newest_hour = Some(hour);
                }
                RowKey::Day { day, .. } if newest_day != Some(day) => {
                    partition.add_day(day);
                    newest_day = Some(day);
                }
                _ => {}
            }
        }
        for letter in flush.dead_letters {
            let key = keys::dead_letter(flush.partition, letter.offset);
            changes.insert(key, row::write_dead_letter(letter));
        }
        for entry in flush.bulk {
            let key = keys::bulk(entry.object.id);
            changes.insert(key, row::write_bulk(entry));
        }
        for mark in flush.sources {
            let key = keys::source(flush.partition, &mark.source);
            match &mark.state {
                Some(state) => changes.insert(key, row::write_source(state)),
                None => changes.remove(key),
            }
        }
        let pinned = self.pinned.read().clone();
        repairs::write(&mut changes, &self.rows, &pinned, flush.partition, flush.repairs)?;
        let key = keys::checkpoint(flush.partition);
        changes.insert(key, row::write_checkpoint(&flush.checkpoint));
        Ok(changes)
    }

    fn commit(&self, changes: Changes) -> fjall::Result<()> {
        let _no_other = self.committing.lock();
        if changes.len() >= self.ingested_min {
            changes.ingest(&self.rows)?;
        } else {
            // fjall leaves this to its worker, which may be merging tables for seconds, while the
            // memtable grows. Sealed ones are counted, and four of them hold further commits back.
            if self.rows.tree.active_memtable().size() >= tuning::MEMTABLE_BYTES {
                self.rows.rotate_memtable()?;
            }
            changes.journal(&self.db, &self.rows)?;
            // One without rows cannot be written out.
            if self.has_long_journals()? {
                self.rows.rotate_memtable()?;
            }
        }
        *self.pinned.write() = Arc::new(self.db.snapshot());
        Ok(())
    }

    /// Whether journals are to be let go, and nothing is under way that will.
    fn has_long_journals(&self) -> fjall::Result<bool> {
        let is_quiet = self.rows.tree.sealed_memtable_count() == 0;
        Ok(is_quiet && self.db.journal_disk_space()? >= tuning::JOURNAL_BYTES)
    }

    /// Refuses while the disk is nearly full.
    fn check_room(&self) -> Result<(), PortError> {
        check_room(&self.folder, FREE_BYTES_MIN)
    }
}

/// Refuses where fewer bytes are free.
fn check_room(folder: &Path, needed: u64) -> Result<(), PortError> {
    let context = || format!("the counter store in {folder:?}");
    let free = RealDisk
        .free_bytes(folder)
        .map_err(|error| PortError::caused(ErrorKind::Unavailable, context(), error))?;
    if free < needed {
        let context = format!(
            "{}: {free} bytes are free on the disk, {needed} are needed: make room",
            context()
        );
        return Err(PortError::new(ErrorKind::Unavailable, context));
    }
    Ok(())
}

impl CounterStore for EmbeddedStore {
    fn claim(&self, partition: PartitionId) -> Result<Claim, PortError> {
        // The folder's lock keeps other processes out, and a flush is one batch.
        let checkpoint = *self.partitions.get(partition)?.checkpoint.lock();
        Ok(Claim { checkpoint, begun: None })
    }

    fn flush(&self, flush: &Flush<'_>, rows: &mut Rows<'_>) -> Result<(), PortError> {
        let partition = self.partitions.get(flush.partition)?;
        let mut stored = partition.checkpoint.lock();
        let place = |c: &model::Checkpoint| (c.log_epoch, c.next_offset);
        if let Some(stored) = *stored
            && place(&flush.checkpoint) <= place(&stored)
        {
            let context = format!(
                "partition {}: a flush up to {:?} came after one up to {:?}: another writer is at work",
                flush.partition, flush.checkpoint, stored
            );
            return Err(PortError::new(ErrorKind::Conflict, context));
        }
        self.check_room()?;
        let changes = self.changes(flush, rows, partition)?;
        self.commit(changes).map_err(|error| {
            let context = format!(
                "flush partition {} to the counter store in {:?}: it takes no more writes until \
                 the process is restarted",
                flush.partition, self.folder
            );
            PortError::caused(ErrorKind::Corrupt, context, error)
        })?;
        *stored = Some(flush.checkpoint);
        Ok(())
    }

    fn mark(
        &self,
        partition: PartitionId,
        offset: Offset,
        from: &LetterState,
        to: &LetterState,
    ) -> Result<(), PortError> {
        self.mark_letter(partition, offset, from, to)
    }

    fn fold(&self, partition: PartitionId, rows_max: usize) -> Result<Folded, PortError> {
        self.fold_rows(partition, rows_max)
    }

    fn note_cold(&self, until: Day) -> Result<(), PortError> {
        self.note(until)
    }

    fn remove_cold(&self, partition: PartitionId, rows_max: usize) -> Result<bool, PortError> {
        self.remove(partition, rows_max)
    }

    fn snapshot(&self) -> Result<Box<dyn CounterSnapshot>, PortError> {
        Ok(Box::new(EmbeddedSnapshot {
            pinned: self.pinned.read().clone(),
            rows: self.rows.clone(),
            partitions: self.partitions.clone(),
        }))
    }
}

/// Makes an empty store.
fn make(folder: &Path) -> Result<(), PortError> {
    let failed = |error| failure(&format!("make a counter store in {folder:?}"), error);
    let (db, rows) = open_database(folder, StoreSettings::default()).map_err(failed)?;
    rows.insert(keys::FORMAT, FORMAT_VERSION.to_be_bytes()).map_err(failed)?;
    db.persist(PersistMode::SyncAll).map_err(failed)
}

fn open_database(folder: &Path, settings: StoreSettings) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(folder)
        .cache_size(settings.cache_bytes)
        .max_journaling_size(tuning::JOURNAL_BYTES_MAX)
        .worker_threads(tuning::WORKER_THREADS)
        .open()?;
    let rows = db.keyspace(KEYSPACE, tuning::keyspace)?;
    Ok((db, rows))
}

/// A failure to open or read; `doing` says what was tried.
fn failure(doing: &str, error: fjall::Error) -> PortError {
    fresh::failure(doing, "its bytes are damaged: restore a backup or recount", error)
}

/// A failure to read.
fn read_failure(error: fjall::Error) -> PortError {
    failure("read the counter store", error)
}

/// A value that is not what the store wrote.
fn damaged(key: &[u8], damage: row::Damage) -> PortError {
    let context = format!(
        "the counter store's value under {} is damaged: restore a backup or recount",
        key.escape_ascii()
    );
    PortError::caused(ErrorKind::Corrupt, context, damage)
}

#[cfg(test)]
mod tests;
