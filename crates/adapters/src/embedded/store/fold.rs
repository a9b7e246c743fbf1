//! Folding: an hour's minutes become one cell once they are no longer kept.
//!
//! The mark says from which key on a partition's hours are still to be looked at. It moves in one
//! batch with the rows, so that a crash neither loses its place nor looks twice.
//!
//! ```text
//! mark = hour u32 big-endian, and where the hour was begun what follows it in the first key that
//!        was not looked at
//! ```

use engine::ports::{ErrorKind, Folded, PortError};
use fjall::Readable;
use model::{Hour, PartitionId};

use super::changes::Changes;
use super::{EmbeddedStore, damaged, keys, read_failure, row};

impl EmbeddedStore {
    /// See [`engine::ports::CounterStore::fold`].
    pub(super) fn fold_rows(
        &self,
        partition: PartitionId,
        rows_max: usize,
    ) -> Result<Folded, PortError> {
        // A flush that comes meanwhile waits: what is read here is what is replaced.
        let stored = self.partitions.get(partition)?.checkpoint.lock();
        let horizon = stored.unwrap_or_default().horizons.minute();
        let until = keys::hour_head(partition, horizon);
        let pinned = self.pinned.read().clone();
        let mark_key = keys::folded(partition);
        let mark = pinned.get(&self.rows, mark_key).map_err(read_failure)?;
        let from = match &mark {
            Some(mark) => keys::hours_from(partition, mark).map_err(|d| damaged(&mark_key, d))?,
            None => keys::hour_head(partition, Hour(0)).to_vec(),
        };
        if from[..] >= until[..] {
            return Ok(Folded { rows: 0, is_done: true });
        }
        self.check_room()?;
        let mut changes = Changes::with_capacity(1);
        let (mut looked_at, mut folded, mut value) = (0, 0, Vec::new());
        let mut next = until.to_vec();
        for guard in pinned.range(&self.rows, &from[..]..&until[..]) {
            let (key, stored) = guard.into_inner().map_err(read_failure)?;
            if looked_at == rows_max {
                next = key.to_vec();
                break;
            }
            looked_at += 1;
            let mut row = row::read_row(&stored).map_err(|d| damaged(&key, d))?;
            if row.fold() {
                value.clear();
                row::write_row(&mut value, &row);
                changes.insert(&key, &value);
                folded += 1;
            }
        }
        changes.insert(mark_key, keys::fold_mark(&next));
        self.commit(changes).map_err(|error| {
            let context = format!(
                "fold old minutes of partition {partition} in {:?}: the counter store takes no \
                 more writes until the process is restarted",
                self.folder
            );
            PortError::caused(ErrorKind::Corrupt, context, error)
        })?;
        Ok(Folded { rows: folded, is_done: next == until })
    }
}
