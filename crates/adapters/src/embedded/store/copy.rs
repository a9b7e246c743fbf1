//! A copy of the store: the rows of one snapshot, in a new store of their own.

use std::path::Path;

use engine::ports::{CounterSnapshot, PortError};
use fjall::{PersistMode, Readable};

use super::snapshot::EmbeddedSnapshot;
use super::{EmbeddedStore, StoreSettings, failure, open_database};

/// How often `heard` is called, in bytes of rows.
const HEARD_BYTES: u64 = 1 << 20;

impl EmbeddedStore {
    /// Writes what the last flush left into a new store in a folder that is not there yet; gives the
    /// snapshot that was copied. Rows go from one to the other in key order, a few at a time. `heard`
    /// hears how many bytes of rows were copied, and can end it.
    ///
    /// Only the pinned snapshot is used: one taken here and now could see part of a flush.
    ///
    /// # Errors
    /// What `heard` says, `Corrupt` where stored bytes are wrong, `Unavailable` where a disk refuses.
    /// What is in the folder then is of no use.
    pub fn copy_to(
        &self,
        folder: &Path,
        heard: &mut dyn FnMut(u64) -> Result<(), PortError>,
    ) -> Result<Box<dyn CounterSnapshot>, PortError> {
        let pinned = self.pinned.read().clone();
        let failed = |error| failure(&format!("copy the counter store to {folder:?}"), error);
        let (db, rows) = open_database(folder, StoreSettings::default()).map_err(failed)?;
        let mut ingestion = rows.start_ingestion().map_err(failed)?;
        let (mut copied, mut told) = (0, 0);
        for guard in pinned.iter(&self.rows) {
            let (key, value) = guard.into_inner().map_err(failed)?;
            copied += (key.len() + value.len()) as u64;
            ingestion.write(key, value).map_err(failed)?;
            if copied >= told + HEARD_BYTES {
                told = copied;
                heard(copied)?;
            }
        }
        ingestion.finish().map_err(failed)?;
        db.persist(PersistMode::SyncAll).map_err(failed)?;
        let (rows, partitions) = (self.rows.clone(), self.partitions.clone());
        Ok(Box::new(EmbeddedSnapshot { pinned, rows, partitions }))
    }
}
