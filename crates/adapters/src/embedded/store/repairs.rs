//! Corrections that were applied, kept until somebody confirms them.
//!
//! ```text
//! newest  = offset u64                       where the newest control record of corrections stood
//! repair  = refused u64 | corrections        under the offset of its control record
//! ```
//!
//! Numbers are big-endian; the corrections are as in their control record.

use engine::ports::{PortError, Repair, RepairNote, Repairs};
use fjall::{Keyspace, OwnedWriteBatch, Readable, Snapshot};
use model::{Corrections, Offset, PartitionId};

use super::row::Damage;
use super::{damaged, failure, keys};

/// Adds notes to a batch.
pub(super) fn write(
    batch: &mut OwnedWriteBatch,
    rows: &Keyspace,
    pinned: &Snapshot,
    partition: PartitionId,
    notes: &[RepairNote],
) -> Result<(), PortError> {
    if notes.is_empty() {
        return Ok(());
    }
    let before = read(pinned, rows, partition)?;
    let mut after = before.clone();
    notes.iter().for_each(|note| note.apply(&mut after));
    for gone in before.kept.iter().filter(|repair| !after.kept.contains(repair)) {
        batch.remove(rows, keys::repair(partition, gone.offset));
    }
    for new in after.kept.iter().filter(|repair| !before.kept.contains(repair)) {
        let mut value = new.refused.to_be_bytes().to_vec();
        value.extend_from_slice(&new.corrections.body());
        batch.insert(rows, keys::repair(partition, new.offset), value);
    }
    if let Some(newest) = after.newest_offset {
        batch.insert(rows, keys::repairs(partition), newest.0.to_be_bytes());
    }
    Ok(())
}

/// The corrections of a partition.
pub(super) fn read(
    pinned: &Snapshot,
    rows: &Keyspace,
    partition: PartitionId,
) -> Result<Repairs, PortError> {
    let mut repairs = Repairs::default();
    for guard in pinned.prefix(rows, keys::repairs(partition)) {
        let (key, value) =
            guard.into_inner().map_err(|error| failure("read the counter store", error))?;
        match keys::repair_offset(&key) {
            Some(offset) => {
                let repair = read_repair(offset, &value).map_err(|d| damaged(&key, d))?;
                repairs.kept.push(repair);
            }
            None => {
                let offset = value[..].try_into().map_err(|_| damaged(&key, Damage::Length))?;
                repairs.newest_offset = Some(Offset(u64::from_be_bytes(offset)));
            }
        }
    }
    Ok(repairs)
}

/// Reads the value of a repair.
pub(super) fn read_repair(offset: Offset, value: &[u8]) -> Result<Repair, Damage> {
    let (refused, body) = value.split_first_chunk().ok_or(Damage::Length)?;
    let corrections = Corrections::read(body).map_err(|_| Damage::Marks)?;
    Ok(Repair { offset, refused: u64::from_be_bytes(*refused), corrections })
}
