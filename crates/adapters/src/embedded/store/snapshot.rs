//! The store as it was at one moment.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use engine::ports::{CounterSnapshot, NamedRow, PortError, Repairs, StoredDeadLetter};
use fjall::{Guard, Keyspace, Readable, Snapshot};
use model::{
    BulkEntry, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceState, StoredRow,
};

use super::partitions::Partitions;
use super::row::{self, Damage};
use super::{cold, damaged, keys, letters, read_failure, repairs};

pub(super) struct EmbeddedSnapshot {
    pub(super) pinned: Arc<Snapshot>,
    pub(super) rows: Keyspace,
    /// Hours and days that were added since the moment are among them, and have no rows yet here.
    pub(super) partitions: Arc<Partitions>,
}

impl EmbeddedSnapshot {
    fn row(&self, key: &[u8]) -> Result<Option<StoredRow>, PortError> {
        match self.pinned.get(&self.rows, key).map_err(read_failure)? {
            Some(bytes) => row::read_row(&bytes).map(Some).map_err(|d| damaged(key, d)),
            None => Ok(None),
        }
    }

    /// Calls `each` with the rows of a prefix and the text that follows it: an item or a type.
    fn scan(&self, prefix: &[u8], each: &mut dyn FnMut(&str, StoredRow)) -> Result<(), PortError> {
        for guard in self.pinned.prefix(&self.rows, prefix) {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let item = std::str::from_utf8(&key[prefix.len()..]);
            let item = item.map_err(|_| damaged(&key, Damage::Text))?;
            each(item, row::read_row(&value).map_err(|d| damaged(&key, d))?);
        }
        Ok(())
    }
}

impl CounterSnapshot for EmbeddedSnapshot {
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        let key = keys::checkpoint(partition);
        match self.pinned.get(&self.rows, key).map_err(read_failure)? {
            Some(bytes) => row::read_checkpoint(&bytes).map(Some).map_err(|d| damaged(&key, d)),
            None => Ok(None),
        }
    }

    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError> {
        let mut key = Vec::new();
        keys.iter()
            .map(|asked| {
                keys::row(&mut key, partition, asked);
                self.row(&key)
            })
            .collect()
    }

    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError> {
        let mut key = Vec::new();
        for hour in self.partitions.get(partition)?.hours(hours) {
            keys::row(&mut key, partition, &RowKey::Hour { hour, event_type, item });
            if let Some(row) = self.row(&key)? {
                each(hour, row);
            }
        }
        Ok(())
    }

    fn scan_hour(
        &self,
        partition: PartitionId,
        hour: Hour,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let mut prefix = Vec::new();
        keys::head_type(&mut prefix, &keys::hour_head(partition, hour), event_type);
        self.scan(&prefix, each)
    }

    fn hours(&self, partition: PartitionId, hours: Range<u32>) -> Result<Vec<Hour>, PortError> {
        Ok(self.partitions.get(partition)?.hours(hours))
    }

    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        let range = keys::hour_head(partition, Hour(hours.start))
            ..keys::hour_head(partition, Hour(hours.end));
        for guard in self.pinned.range(&self.rows, range) {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let (hour, event_type, item) = keys::hour_row(&key).map_err(|d| damaged(&key, d))?;
            each(hour, event_type, item, row::read_row(&value).map_err(|d| damaged(&key, d))?);
        }
        Ok(())
    }

    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        for guard in self.pinned.prefix(&self.rows, keys::totals(partition)) {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let (item, event_type) = keys::total_row(&key).map_err(|d| damaged(&key, d))?;
            let row = row::read_row(&value).map_err(|d| damaged(&key, d))?;
            if each(item, event_type, row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let mut prefix = Vec::new();
        keys::row(&mut prefix, partition, &RowKey::Total { item, event_type: "" });
        self.scan(&prefix, each)
    }

    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        repairs::read(&self.pinned, &self.rows, partition)
    }

    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let mut prefix = Vec::new();
        keys::head_type(&mut prefix, &keys::day_head(partition, day), event_type);
        self.scan(&prefix, each)
    }

    fn scan_days(
        &self,
        partition: PartitionId,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        let range = keys::day_head(partition, Day(days.start))
            ..keys::day_head(partition, Day(days.end.max(days.start)));
        for guard in self.pinned.range(&self.rows, range) {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let (day, event_type, item) = keys::day_row(&key).map_err(|d| damaged(&key, d))?;
            each(day, event_type, item, row::read_row(&value).map_err(|d| damaged(&key, d))?);
        }
        Ok(())
    }

    fn days(&self, partition: PartitionId, days: Range<u32>) -> Result<Vec<Day>, PortError> {
        Ok(self.partitions.get(partition)?.days(days))
    }

    fn cold_until(&self) -> Result<Day, PortError> {
        cold::cold_until(&self.pinned, &self.rows)
    }

    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError> {
        let head = keys::hour_head(partition, hour);
        cold::page(&self.pinned, &self.rows, &head, behind, limit)
    }

    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        letters::list(&self.pinned, &self.rows, partition, from, limit)
    }

    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError> {
        let read = |guard: Guard| {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            let name = keys::source_name(&key).map_err(|d| damaged(&key, d))?;
            let state = row::read_source(&value).map_err(|d| damaged(&key, d))?;
            Ok((name.to_owned(), state))
        };
        self.pinned.prefix(&self.rows, keys::source(partition, "")).map(read).collect()
    }

    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        let read = |guard: Guard| {
            let (key, value) = guard.into_inner().map_err(read_failure)?;
            row::read_bulk(&value).map_err(|damage| damaged(&key, damage))
        };
        self.pinned.prefix(&self.rows, keys::BULK).map(read).collect()
    }
}
