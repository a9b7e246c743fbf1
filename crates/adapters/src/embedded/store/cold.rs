//! Cold days: from which day on hour rows count, and how those before it go.
//!
//! ```text
//! cold until = the first day whose hour rows count, u32 big-endian; not there while all do
//! ```

use engine::ports::{ErrorKind, NamedRow, PortError};
use fjall::{Keyspace, Readable, Snapshot};
use model::bucket::TIME_MAX;
use model::{Day, Hour, PartitionId};

use super::changes::Changes;
use super::row::{self, Damage};
use super::{EmbeddedStore, damaged, keys, read_failure};

impl EmbeddedStore {
    /// See [`engine::ports::CounterStore::note_cold`].
    pub(super) fn note(&self, until: Day) -> Result<(), PortError> {
        // One at a time: the noted day never goes back.
        let _alone = self.noting.lock();
        if until <= cold_until(&self.pinned.read().clone(), &self.rows)? {
            return Ok(());
        }
        self.check_room()?;
        let mut changes = Changes::with_capacity(1);
        changes.insert(keys::COLD_UNTIL, until.0.to_be_bytes());
        self.commit(changes).map_err(|error| self.stopped("note which days are cold", error))
    }

    /// See [`engine::ports::CounterStore::remove_cold`]. The hours stay known until a restart:
    /// older snapshots still have their rows.
    pub(super) fn remove(
        &self,
        partition: PartitionId,
        rows_max: usize,
    ) -> Result<bool, PortError> {
        // A flush or a fold that comes meanwhile waits, and finds them gone.
        let _alone = self.partitions.get(partition)?.checkpoint.lock();
        let pinned = self.pinned.read().clone();
        let until = Hour(cold_until(&pinned, &self.rows)?.0 * 24);
        let cold = keys::hour_head(partition, Hour(0))..keys::hour_head(partition, until);
        let mut changes = Changes::with_capacity(rows_max);
        let mut left = pinned.range(&self.rows, cold);
        let mut removed = 0;
        for guard in left.by_ref().take(rows_max) {
            changes.remove(guard.key().map_err(read_failure)?);
            removed += 1;
        }
        let is_done = left.next().is_none();
        if removed > 0 {
            self.commit(changes).map_err(|error| self.stopped("remove cold hours", error))?;
        }
        Ok(is_done)
    }

    fn stopped(&self, act: &str, error: fjall::Error) -> PortError {
        let context = format!(
            "{act} in {:?}: the counter store takes no more writes until the process is restarted",
            self.folder
        );
        PortError::caused(ErrorKind::Corrupt, context, error)
    }
}

/// The first day whose hour rows count.
pub(super) fn cold_until(pinned: &Snapshot, rows: &Keyspace) -> Result<Day, PortError> {
    let key = keys::COLD_UNTIL;
    let Some(stored) = pinned.get(rows, key).map_err(read_failure)? else { return Ok(Day(0)) };
    read_cold_until(&stored).map_err(|damage| damaged(&key, damage))
}

fn read_cold_until(stored: &[u8]) -> Result<Day, Damage> {
    let day = Day(u32::from_be_bytes(stored.try_into().map_err(|_| Damage::Length)?));
    if day > TIME_MAX.minute().hour().day() {
        return Err(Damage::Number);
    }
    Ok(day)
}

/// Rows of an hour behind a type and item.
pub(super) fn page(
    pinned: &Snapshot,
    rows: &Keyspace,
    head: &[u8],
    behind: Option<(&str, &str)>,
    limit: usize,
) -> Result<Vec<NamedRow>, PortError> {
    let mut from = head.to_vec();
    if let Some((event_type, item)) = behind {
        from.extend_from_slice(event_type.as_bytes());
        from.push(0);
        from.extend_from_slice(item.as_bytes());
        // Nothing sorts between a key and itself with a zero byte behind it.
        from.push(0);
    }
    let mut page = Vec::with_capacity(limit);
    for guard in pinned.range(rows, from..).take(limit) {
        let (key, value) = guard.into_inner().map_err(read_failure)?;
        let Some(name) = key.strip_prefix(head) else { break };
        let (event_type, item) = split_name(name).map_err(|d| damaged(&key, d))?;
        page.push((event_type, item, row::read_row(&value).map_err(|d| damaged(&key, d))?));
    }
    Ok(page)
}

fn split_name(name: &[u8]) -> Result<(String, String), Damage> {
    let name = std::str::from_utf8(name).map_err(|_| Damage::Text)?;
    let (event_type, item) = name.split_once('\0').ok_or(Damage::Text)?;
    Ok((event_type.to_owned(), item.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_day_or_name_is_refused() {
        assert_eq!(read_cold_until(&[0, 0, 1, 2]), Ok(Day(258)));
        assert_eq!(read_cold_until(&[0, 1, 2]), Err(Damage::Length));
        assert_eq!(read_cold_until(&[0xff, 0, 1, 2]), Err(Damage::Number));
        assert_eq!(split_name(b"view"), Err(Damage::Text));
    }
}
