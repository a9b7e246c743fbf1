//! Item details on fjall, in a folder of their own: they change seldom, and in the counters' store
//! they would keep old journals alive.
//!
//! Knows what the bytes are ([`bytes`]); knows nothing of reports. As in the counter store, reads go
//! by a snapshot that is taken at the end of each write, so that they see whole batches only.

pub(crate) mod bytes;
#[cfg(feature = "fuzz")]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::ports::{DetailsChange, EachItem, ErrorKind, ItemDetailsStore, PortError};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};
use model::ItemDetails;
use parking_lot::{Mutex, RwLock};

use super::disk::{Disk, RealDisk};
use super::fresh;

/// What helps where bytes are damaged.
const CURE: &str = "its bytes are damaged: restore a backup, or remove the folder and send all item \
                    details again";
/// Most bytes of journals on disk, the least that fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Size of the table in memory: details are small and seldom written.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Memory for blocks read from disk.
const CACHE_BYTES: u64 = 16 << 20;

/// Item details in a folder of this machine.
pub struct EmbeddedDetails {
    db: Database,
    entries: Keyspace,
    folder: PathBuf,
    /// Writes are refused where fewer bytes are free on the disk.
    reserve_bytes: u64,
    /// Held while a batch is made and written: what it replaces stays as it was read.
    writing: Mutex<()>,
    /// What is stored after the last write.
    pinned: RwLock<Arc<Snapshot>>,
}

impl EmbeddedDetails {
    /// Opens the details in a folder of their own, or makes it. `reserve_bytes` stay free on the disk.
    ///
    /// # Errors
    /// `Conflict` where another process has it open, `Invalid` where its format is not known,
    /// `Corrupt` where its bytes are wrong, `Unavailable` where the disk refuses.
    pub fn open(folder: &Path, reserve_bytes: u64) -> Result<Self, PortError> {
        fresh::create(folder, make)?;
        let failed = |error| failure(&format!("open the item details in {folder:?}"), error);
        let (db, entries) = open_database(folder).map_err(failed)?;
        let stored = entries.get(bytes::FORMAT).map_err(failed)?;
        let known = bytes::FORMAT_VERSION;
        fresh::check_format("item details", folder, stored.as_deref(), known)?;
        let pinned = RwLock::new(Arc::new(db.snapshot()));
        let (folder, writing) = (folder.to_owned(), Mutex::default());
        Ok(Self { db, entries, folder, reserve_bytes, writing, pinned })
    }

    /// Writes what the last write left into a folder that is not there yet, as a store of its own.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes are wrong, `Unavailable` where a disk refuses.
    pub fn copy_to(&self, folder: &Path) -> Result<(), PortError> {
        let pinned = self.pinned.read().clone();
        let failed = |error| failure(&format!("copy the item details to {folder:?}"), error);
        let (db, entries) = open_database(folder).map_err(failed)?;
        let mut ingestion = entries.start_ingestion().map_err(failed)?;
        for guard in pinned.iter(&self.entries) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            ingestion.write(key, value).map_err(failed)?;
        }
        ingestion.finish().map_err(failed)?;
        db.persist(PersistMode::SyncAll).map_err(failed)
    }

    /// Bytes on disk, journals included.
    ///
    /// # Errors
    /// `Unavailable` where the disk refuses.
    pub fn disk_bytes(&self) -> Result<u64, PortError> {
        self.db.disk_space().map_err(|error| failure("measure the item details", error))
    }

    /// How far a topic was followed that these details are of, and which; none where they are of none.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes are wrong, `Unavailable` where the disk refuses.
    pub fn followed(&self) -> Result<Option<(u64, String)>, PortError> {
        let stored = self.entries.get(bytes::FOLLOWED).map_err(read_failure)?;
        let read = |bytes: fjall::Slice| {
            bytes::read_followed(&bytes).map_err(|damage| damaged(&bytes::FOLLOWED, damage))
        };
        stored.map(read).transpose()
    }

    /// Writes changes that a topic holds below an offset, and that it was followed so far, in one go.
    ///
    /// # Errors
    /// As of [`ItemDetailsStore::put`].
    pub fn put_followed(
        &self,
        changes: &[DetailsChange],
        next_offset: u64,
        source: &str,
    ) -> Result<(), PortError> {
        let followed = bytes::write_followed(next_offset, source);
        self.write(changes, Some(followed)).map(drop)
    }

    /// Whether nothing is known of any item.
    ///
    /// # Errors
    /// `Corrupt` where stored bytes are wrong, `Unavailable` where the disk refuses.
    pub fn is_empty(&self) -> Result<bool, PortError> {
        let mut is_empty = true;
        self.scan(None, None, &mut |_, _| {
            is_empty = false;
            ControlFlow::Break(())
        })?;
        Ok(is_empty)
    }

    fn check_room(&self) -> Result<(), PortError> {
        let context = || format!("the item details in {:?}", self.folder);
        let free = RealDisk
            .free_bytes(&self.folder)
            .map_err(|error| PortError::caused(ErrorKind::Unavailable, context(), error))?;
        if free >= self.reserve_bytes {
            return Ok(());
        }
        let context = format!(
            "{}: {free} bytes are free on the disk, {} are needed: make room",
            context(),
            self.reserve_bytes
        );
        Err(PortError::new(ErrorKind::Unavailable, context))
    }

    /// Calls `each` with the items of a channel behind one of them.
    fn each_of_channel(
        &self,
        pinned: &Snapshot,
        channel: &str,
        behind: Option<&str>,
        each: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, PortError>,
    ) -> Result<(), PortError> {
        let head = bytes::channel_key(channel, "");
        for guard in
            pinned.range(&self.entries, start(|item| bytes::channel_key(channel, item), behind)..)
        {
            let key = guard.key().map_err(read_failure)?;
            let Some(item) = key.strip_prefix(&head[..]) else { break };
            if each(text(&key, item)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Calls `each` with all items behind one of them.
    fn each_item(
        &self,
        pinned: &Snapshot,
        behind: Option<&str>,
        each: &mut EachItem<'_>,
    ) -> Result<(), PortError> {
        let head = bytes::item_key("");
        for guard in pinned.range(&self.entries, start(bytes::item_key, behind)..) {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let Some(item) = key.strip_prefix(&head[..]) else { break };
            let details = bytes::read(&value).map_err(|damage| damaged(&key, damage))?;
            if each(text(&key, item)?, details).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The channel of an item as it is stored; the outer none where nothing is known of the item.
    fn stored_channel(
        &self,
        pinned: &Snapshot,
        item: &str,
    ) -> Result<Option<Option<String>>, PortError> {
        let details = read(pinned, &self.entries, item)?;
        Ok(details.map(|details| details.channel))
    }
}

impl EmbeddedDetails {
    fn write(
        &self,
        changes: &[DetailsChange],
        followed: Option<Vec<u8>>,
    ) -> Result<Vec<bool>, PortError> {
        self.check_room()?;
        let _alone = self.writing.lock();
        let pinned = self.pinned.read().clone();
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), 2 * changes.len())
            .durability(Some(PersistMode::SyncData));
        // Only the last change of an item is written: fjall gives no order to writes of one key in
        // one batch.
        let places = changes.iter().enumerate();
        let last: HashMap<&str, usize> =
            places.map(|(at, change)| (change.item.as_str(), at)).collect();
        let mut is_known: HashMap<&str, bool> = HashMap::new();
        let mut were_known = Vec::with_capacity(changes.len());
        for (at, DetailsChange { item, details }) in changes.iter().enumerate() {
            let stored = match is_known.contains_key(item.as_str()) {
                true => None,
                false => self.stored_channel(&pinned, item)?,
            };
            let was_known = is_known.insert(item, details.is_some());
            were_known.push(was_known.unwrap_or(stored.is_some()));
            // The index is read from what was stored, once an item, however often it comes.
            let after = changes[last[item.as_str()]].details.as_ref();
            let after_channel = after.and_then(|details| details.channel.as_deref());
            if let Some(Some(before)) = &stored
                && after_channel != Some(before)
            {
                batch.remove(&self.entries, bytes::channel_key(before, item));
            }
            if last[item.as_str()] != at {
                continue;
            }
            match details {
                Some(details) => {
                    batch.insert(&self.entries, bytes::item_key(item), bytes::write(details));
                }
                None => batch.remove(&self.entries, bytes::item_key(item)),
            }
            if let Some(channel) = after_channel {
                batch.insert(&self.entries, bytes::channel_key(channel, item), b"");
            }
        }
        if let Some(followed) = followed {
            batch.insert(&self.entries, bytes::FOLLOWED, followed);
        }
        batch.commit().map_err(|error| {
            let context = format!(
                "write item details in {:?}: they take no more writes until the process is restarted",
                self.folder
            );
            PortError::caused(ErrorKind::Corrupt, context, error)
        })?;
        *self.pinned.write() = Arc::new(self.db.snapshot());
        Ok(were_known)
    }
}

impl ItemDetailsStore for EmbeddedDetails {
    fn put(&self, changes: &[DetailsChange]) -> Result<Vec<bool>, PortError> {
        match changes {
            [] => Ok(Vec::new()),
            changes => self.write(changes, None),
        }
    }

    fn get(&self, items: &[&str]) -> Result<Vec<Option<ItemDetails>>, PortError> {
        let pinned = self.pinned.read().clone();
        items.iter().map(|item| read(&pinned, &self.entries, item)).collect()
    }

    fn of_channel(
        &self,
        channel: &str,
        behind: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, PortError> {
        let pinned = self.pinned.read().clone();
        let mut items = Vec::new();
        if limit == 0 {
            return Ok(items);
        }
        self.each_of_channel(&pinned, channel, behind, &mut |item| {
            items.push(item.to_owned());
            Ok(if items.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(items)
    }

    fn scan(
        &self,
        channel: Option<&str>,
        behind: Option<&str>,
        each: &mut EachItem<'_>,
    ) -> Result<(), PortError> {
        let pinned = self.pinned.read().clone();
        let Some(channel) = channel else { return self.each_item(&pinned, behind, each) };
        self.each_of_channel(&pinned, channel, behind, &mut |item| {
            // The batch that wrote the one key wrote the other.
            let details = read(&pinned, &self.entries, item)?.ok_or_else(|| {
                damaged(&bytes::channel_key(channel, item), bytes::Damage::Missing)
            })?;
            Ok(each(item, details))
        })
    }
}

/// The first key behind that of an item, or of all.
fn start(key: impl Fn(&str) -> Vec<u8>, behind: Option<&str>) -> Vec<u8> {
    let mut start = key(behind.unwrap_or_default());
    if behind.is_some() {
        // Nothing sorts between a key and itself with a zero byte behind it.
        start.push(0);
    }
    start
}

/// The item that a key ends with.
fn text<'a>(key: &[u8], item: &'a [u8]) -> Result<&'a str, PortError> {
    std::str::from_utf8(item).map_err(|_| damaged(key, bytes::Damage::Text))
}

fn read(
    pinned: &Snapshot,
    entries: &Keyspace,
    item: &str,
) -> Result<Option<ItemDetails>, PortError> {
    let key = bytes::item_key(item);
    match pinned.get(entries, &key).map_err(read_failure)? {
        Some(value) => bytes::read(&value).map(Some).map_err(|damage| damaged(&key, damage)),
        None => Ok(None),
    }
}

fn make(folder: &Path) -> Result<(), PortError> {
    let failed = |error| failure(&format!("make the item details in {folder:?}"), error);
    let (db, entries) = open_database(folder).map_err(failed)?;
    entries.insert(bytes::FORMAT, bytes::FORMAT_VERSION.to_be_bytes()).map_err(failed)?;
    db.persist(PersistMode::SyncAll).map_err(failed)
}

fn open_database(folder: &Path) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(folder)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .worker_threads(1)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let entries = db.keyspace("details", options)?;
    Ok((db, entries))
}

fn failure(doing: &str, error: fjall::Error) -> PortError {
    fresh::failure(doing, CURE, error)
}

fn read_failure(error: fjall::Error) -> PortError {
    failure("read item details", error)
}

/// A value that is not what was written.
fn damaged(key: &[u8], damage: bytes::Damage) -> PortError {
    let context = format!("the item details under {}: {CURE}", key.escape_ascii());
    PortError::caused(ErrorKind::Corrupt, context, damage)
}
