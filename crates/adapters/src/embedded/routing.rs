//! The routing table of a data folder: one small file beside the log, replaced whole.
//!
//! ```text
//! <log>/routing.table
//!
//! byte  size  all numbers little-endian
//!    0     8  magic "TALLYRTE"
//!    8     2  format version, 1
//!   10     4  length of the table in bytes
//!   14        the table, see `model::route`
//!          4  CRC32C of everything before
//! ```
//!
//! It is there from the first start on. `log.meta` says when it has more than the first version:
//! then a folder without it is damaged, and older programs refuse the folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::ports::{ErrorKind, EventLog, PortError, RoutingStore, next_table};
use model::{RoutingChange, RoutingTable, TimestampMs};
use parking_lot::Mutex;

use super::disk::Disk;
use super::log::meta::{self, Meta, unavailable};

/// Name of the file in the log's folder.
pub const ROUTING_FILE: &str = "routing.table";
const MAGIC: &[u8; 8] = b"TALLYRTE";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 14;
const CRC_BYTES: usize = 4;
/// Far above what all versions and rules there may be take.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Between two attempts to find out what became of a version, in milliseconds of append time.
const HEAL_MS: i64 = 1_000;

/// The table of a log in a folder.
pub struct EmbeddedRouting {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Its clock is the one that versions are published by.
    log: Arc<dyn EventLog>,
    state: Mutex<State>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

struct State {
    table: Arc<RoutingTable>,
    /// Since when it is not certain that the table is all there is: a version is being published, or
    /// nobody knows whether it was.
    unsure_since: Option<TimestampMs>,
    heal_at: TimestampMs,
}

impl EmbeddedRouting {
    /// Reads the table of a log's folder, or begins it with the log's partitions.
    ///
    /// # Errors
    /// `Corrupt` where the file is damaged or missing, `Invalid` where a later program wrote it,
    /// `Unavailable` where the disk refuses.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        log: Arc<dyn EventLog>,
    ) -> Result<Self, PortError> {
        let table = match load(&*disk, dir)? {
            Some(table) => {
                // What only a dead process saw must not vanish under this one.
                disk.sync_dir(dir).map_err(unavailable("sync", dir))?;
                table
            }
            None => {
                if meta::stored(&*disk, dir)?.is_some_and(|meta| meta.is_routed) {
                    return Err(damaged(&dir.join(ROUTING_FILE), "is missing"));
                }
                let table = RoutingTable::first(log.partitions());
                store(&*disk, dir, &table)?;
                table
            }
        };
        let heal_at = TimestampMs(i64::MIN);
        let state = State { table: Arc::new(table), unsure_since: None, heal_at };
        let (state, writing) = (Mutex::new(state), Mutex::default());
        Ok(Self { disk, dir: dir.to_owned(), log, state, writing })
    }

    fn now(&self) -> Result<TimestampMs, PortError> {
        self.log.append_time().map_err(|error| {
            PortError::caused(ErrorKind::Unavailable, "routing goes by the log's clock", error)
        })
    }

    /// Marks the folder, so that nobody who knows nothing of versions routes by it.
    fn mark(&self) -> Result<(), PortError> {
        match meta::stored(&*self.disk, &self.dir)? {
            Some(stored) if !stored.is_routed => {
                meta::store(&*self.disk, &self.dir, Meta { is_routed: true, ..stored })
            }
            _ => Ok(()),
        }
    }

    /// Writes the file again as it is known, after a version of which nobody knows whether it was
    /// written: then it was not.
    fn heal(&self, state: &mut State) -> Result<(), PortError> {
        store(&*self.disk, &self.dir, &state.table)?;
        state.unsure_since = None;
        Ok(())
    }
}

impl RoutingStore for EmbeddedRouting {
    fn table(&self) -> Result<Arc<RoutingTable>, PortError> {
        Ok(self.state.lock().table.clone())
    }

    fn confirmed_at(&self) -> Result<TimestampMs, PortError> {
        let mut state = self.state.lock();
        let now = self.now()?;
        if state.unsure_since.is_some()
            && now >= state.heal_at
            && let Some(_alone) = self.writing.try_lock()
        {
            state.heal_at = TimestampMs(now.0.saturating_add(HEAL_MS));
            if let Err(error) = self.heal(&mut state) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the routing table cannot be written"
                );
            }
        }
        Ok(state.unsure_since.map_or(now, |since| now.min(since)))
    }

    fn publish(
        &self,
        after: u32,
        partitions: u16,
        changes: Vec<RoutingChange>,
    ) -> Result<Arc<RoutingTable>, PortError> {
        let _alone = self.writing.lock();
        let next = {
            let mut state = self.state.lock();
            if state.unsure_since.is_some() {
                self.heal(&mut state)?;
            }
            let published = self.now()?.max(state.table.newest().published);
            let next = next_table(&state.table, after, published, partitions, changes)?;
            // Nobody routes beyond its lead before it is known whether there is such a version.
            state.unsure_since = Some(published);
            Arc::new(next)
        };
        self.mark().inspect_err(|_| {
            // Nothing of the version was written.
            self.state.lock().unsure_since = None;
        })?;
        store(&*self.disk, &self.dir, &next)?;
        let mut state = self.state.lock();
        state.table = next.clone();
        state.unsure_since = None;
        Ok(next)
    }
}

fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<RoutingTable>, PortError> {
    let path = dir.join(ROUTING_FILE);
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable("read", &path)(error)),
    };
    let size = file.size().map_err(unavailable("read", &path))?;
    if size > FILE_BYTES_MAX {
        return Err(damaged(&path, "is too long"));
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes).map_err(unavailable("read", &path))?;
    from_file(&bytes).map(Some).ok_or_else(|| match version(&bytes) {
        Some(later) if later != VERSION => meta::unknown_version(&path, later, VERSION),
        _ => damaged(&path, "is damaged"),
    })
}

/// The version that sound bytes say they have, known or not.
fn version(bytes: &[u8]) -> Option<u16> {
    let (rest, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let is_whole = crc32c::crc32c(rest) == u32::from_le_bytes(*crc);
    let (magic, numbers) = rest.split_first_chunk::<8>()?;
    let (version, _) = numbers.split_first_chunk()?;
    (is_whole && magic == MAGIC).then(|| u16::from_le_bytes(*version))
}

fn to_file(table: &RoutingTable) -> Vec<u8> {
    let table = table.to_bytes();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((table.len() as u32).to_le_bytes());
    bytes.extend(table);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

fn from_file(bytes: &[u8]) -> Option<RoutingTable> {
    let (rest, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let is_whole = crc32c::crc32c(rest) == u32::from_le_bytes(*crc);
    let (head, table) = rest.split_first_chunk::<HEAD_BYTES>()?;
    let (magic, numbers) = head.split_first_chunk::<8>()?;
    let [version @ .., _, _, _, _] = numbers else { return None };
    let [.., a, b, c, d] = numbers else { return None };
    let is_ours = magic == MAGIC && version == VERSION.to_le_bytes();
    let is_full = u32::from_le_bytes([*a, *b, *c, *d]) as usize == table.len();
    (is_whole && is_ours && is_full).then(|| RoutingTable::from_bytes(table).ok()).flatten()
}

/// Writes the file, whole or not at all; after an error nobody knows which.
fn store(disk: &dyn Disk, dir: &Path, table: &RoutingTable) -> Result<(), PortError> {
    let (tmp, path) = (dir.join("routing.table.tmp"), dir.join(ROUTING_FILE));
    let bytes = to_file(table);
    let written = disk.create(&tmp, bytes.len() as u64).and_then(|file| {
        file.write_at(0, &bytes)?;
        file.sync()?;
        disk.rename(&tmp, &path)?;
        disk.sync_dir(dir)
    });
    written.map_err(unavailable("write", &path))
}

fn damaged(path: &Path, what: &str) -> PortError {
    let context = format!(
        "{} {what}: events would go elsewhere than their repeats; restore the data folder from a backup",
        path.display()
    );
    PortError::new(ErrorKind::Corrupt, context)
}

/// Any bytes are refused, or a table that is written as the same bytes.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub fn fuzz_file(input: &[u8]) {
    if let Some(table) = from_file(input) {
        assert_eq!(to_file(&table), input);
    }
    // Past the checksum.
    if let Ok(table) = RoutingTable::from_bytes(input) {
        assert_eq!(table.to_bytes(), input);
        assert_eq!(from_file(&to_file(&table)).as_ref(), Some(&table));
        for (item, time) in [("a", 0), ("item-1", i64::MAX)] {
            let routed = table.route(item, "id", TimestampMs(time));
            assert!(table.partitions_of(item).contains(&routed));
            assert!(routed.0 < table.log_partitions());
        }
    }
}

#[cfg(test)]
mod tests;
