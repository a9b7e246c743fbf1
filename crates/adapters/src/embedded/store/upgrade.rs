//! Stores of format 1 become stores of this one: their keys had the partition behind the tag, so that every
//! flush covered every other, and the checkpoint before the hours.
//!
//! They lay in a keyspace of another name. All of it becomes part of this one in one step, and only then
//! does the other go: a start that breaks off begins anew, or finds both and removes the other.

use std::path::Path;

use engine::ports::{ErrorKind, PortError};
use fjall::{Database, Keyspace};
use model::limits::PARTITIONS_MAX;

use super::{FREE_BYTES_MIN, check_room, failure, keys, tuning};
use crate::embedded::fresh;

/// The name of its keyspace.
pub(super) const KEYSPACE: &str = "rows";
/// What its format record says.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Tags as they were and as they are, in the order of the latter.
pub(super) const TAGS: [(u8, u8); 9] = [
    (b'D', b'D'),
    (b'G', b'G'),
    (b'H', b'H'),
    (b'C', b'K'),
    (b'M', b'M'),
    (b'Q', b'Q'),
    (b'S', b'S'),
    (b'T', b'T'),
    (b'Y', b'Y'),
];

/// Moves what a store of format 1 holds into `rows`; does nothing where there is none.
///
/// # Errors
/// `Invalid` where its format is another one, `Corrupt` where its bytes are wrong, `Unavailable` where the
/// disk refuses or has no room for two of it.
pub(super) fn upgrade(db: &Database, rows: &Keyspace, folder: &Path) -> Result<(), PortError> {
    let failed =
        |error| failure(&format!("bring the counter store in {folder:?} up to date"), error);
    if !db.keyspace_exists(KEYSPACE) {
        return Ok(());
    }
    let before = db.keyspace(KEYSPACE, tuning::keyspace).map_err(failed)?;
    if rows.get(keys::FORMAT).map_err(failed)?.is_none() {
        let stored = before.get(keys::FORMAT).map_err(failed)?;
        fresh::check_format("counters", folder, stored.as_deref(), FORMAT_VERSION)?;
        check_room(folder, FREE_BYTES_MIN + db.disk_space().map_err(failed)?)?;
        tracing::info!(?folder, "the counters are brought up to date: their rows move");
        if !ingest(&before, rows).map_err(failed)? {
            let context = format!(
                "the counter store in {folder:?} holds keys that are not of its format: restore a backup or \
                 recount"
            );
            return Err(PortError::new(ErrorKind::Corrupt, context));
        }
    }
    db.delete_keyspace(before).map_err(failed)
}

/// Everything in one step, the format's record too; nothing where a key is none that format 1 knows.
fn ingest(before: &Keyspace, rows: &Keyspace) -> fjall::Result<bool> {
    let mut ingestion = rows.start_ingestion()?;
    // The format's record is written anew.
    let mut moved = 1;
    let mut take = |head_before: &[u8], head: &[u8]| {
        for guard in before.prefix(head_before) {
            let (key, value) = guard.into_inner()?;
            ingestion.write([head, &key[head_before.len()..]].concat(), value)?;
            moved += 1;
        }
        fjall::Result::Ok(())
    };
    for [high, low] in (0..PARTITIONS_MAX).map(u16::to_be_bytes) {
        for (tag_before, tag) in TAGS {
            take(&[tag_before, high, low], &[high, low, tag])?;
        }
    }
    for head in [keys::COLD_UNTIL, keys::BULK] {
        take(&head, &head)?;
    }
    ingestion.write(keys::FORMAT, super::FORMAT_VERSION.to_be_bytes())?;
    let is_all = moved == before.len()?;
    if is_all {
        ingestion.finish()?;
    }
    Ok(is_all)
}
