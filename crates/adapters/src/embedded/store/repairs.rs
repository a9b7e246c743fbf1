//! Corrections that were applied, kept until somebody confirms them.
//!
//! ```text
//! newest  = offset u64 | generation u64      of the newest control record of corrections
//! repair  = refused u64 | corrections        under the offset of its control record
//! ```
//!
//! Numbers are big-endian; the corrections are as in their control record.

use engine::ports::{PortError, Repair, RepairNote, Repairs};
use fjall::{Keyspace, Readable, Snapshot};
use model::{Corrections, Offset, PartitionId};

use super::changes::Changes;
use super::row::Damage;
use super::{damaged, keys, read_failure};

/// Adds notes to the changes.
pub(super) fn write(
    changes: &mut Changes,
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
        changes.remove(keys::repair(partition, gone.offset));
    }
    for new in after.kept.iter().filter(|repair| !before.kept.contains(repair)) {
        changes.insert(keys::repair(partition, new.offset), write_repair(new));
    }
    if let Some((offset, generation)) = after.newest {
        changes.insert(keys::repairs(partition), write_newest(offset, generation));
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
        let (key, value) = guard.into_inner().map_err(read_failure)?;
        match keys::repair_offset(&key) {
            Some(offset) => {
                let repair = read_repair(offset, &value).map_err(|d| damaged(&key, d))?;
                repairs.kept.push(repair);
            }
            None => {
                repairs.newest = Some(read_newest(&value).map_err(|d| damaged(&key, d))?);
            }
        }
    }
    Ok(repairs)
}

/// The value that says where the newest corrections stood, and their generation.
pub(crate) fn write_newest(offset: Offset, generation: u64) -> Vec<u8> {
    [offset.0.to_be_bytes(), generation.to_be_bytes()].concat()
}

/// The value of a repair; its offset is in the key.
pub(crate) fn write_repair(repair: &Repair) -> Vec<u8> {
    let mut value = repair.refused.to_be_bytes().to_vec();
    value.extend_from_slice(&repair.corrections.body());
    value
}

/// Reads what [`write_newest`] wrote.
pub(crate) fn read_newest(value: &[u8]) -> Result<(Offset, u64), Damage> {
    let (offset, generation) = value.split_first_chunk().ok_or(Damage::Length)?;
    let generation = generation.try_into().map_err(|_| Damage::Length)?;
    Ok((Offset(u64::from_be_bytes(*offset)), u64::from_be_bytes(generation)))
}

/// Reads the value of a repair.
pub(crate) fn read_repair(offset: Offset, value: &[u8]) -> Result<Repair, Damage> {
    let (refused, body) = value.split_first_chunk().ok_or(Damage::Length)?;
    let corrections = Corrections::read(body).map_err(|_| Damage::Marks)?;
    Ok(Repair { offset, refused: u64::from_be_bytes(*refused), corrections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        let newest = write_newest(Offset(258), 3);
        assert_eq!(newest, b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03");
        assert_eq!(read_newest(&newest), Ok((Offset(258), 3)));
        assert_eq!(read_newest(&newest[1..]), Err(Damage::Length));
        let corrections =
            Corrections { generation: 3, known_offset: Offset(200), cells: Vec::new() };
        let repair = Repair { offset: Offset(258), refused: 1, corrections };
        let value = write_repair(&repair);
        assert_eq!(value[..8], *b"\0\0\0\0\0\0\0\x01");
        assert_eq!(value[8..], repair.corrections.body(), "as in its control record");
        assert_eq!(read_repair(Offset(258), &value), Ok(repair));
        assert_eq!(read_repair(Offset(258), &value[..7]), Err(Damage::Length));
    }
}
