//! What a flush writes beside rows: corrections, dead letters, sources and files.

use std::collections::BTreeMap;

use engine::ports::{Flush, PortError, Repair, RepairNote, Repairs};
use model::{BulkEntry, BulkId, Offset, PartitionId, SourceState};
use scylla::value::CqlValue::{BigInt, Blob, Int, Text};

use super::session::Write;
use super::stamp::WriteStamp;
use super::{CassandraStore, Shared, damaged};
use crate::embedded::store::{repairs, row};

/// All files lie in one Cassandra partition: they are few.
const BULK_SLOT: i32 = 0;
/// Where it is told which corrections were the newest: before those of any offset.
const NEWEST: i64 = -1;

impl CassandraStore {
    /// Notes what corrections have decided, before any row says so.
    pub(super) fn write_before_rows(
        &self,
        flush: &Flush<'_>,
        stamp: WriteStamp,
    ) -> Result<(), PortError> {
        let mut writes = Vec::new();
        let id = flush.partition;
        for note in flush.repairs {
            if let RepairNote::Keep(repair) = note {
                let number = offset_number(repair.offset);
                writes.push(self.write_repair(id, number, repairs::write_repair(repair), stamp));
                let newest = repairs::write_newest(repair.offset, repair.corrections.generation);
                writes.push(self.write_repair(id, NEWEST, newest, stamp));
            }
        }
        // One after the other: of two with one timestamp the later is not known to win.
        let mut newest_last: BTreeMap<i64, Write> = BTreeMap::new();
        for (number, write) in writes {
            newest_last.insert(number, write);
        }
        self.write_all(newest_last.into_values().map(|write| vec![write]).collect())
    }

    fn write_repair(
        &self,
        id: PartitionId,
        number: i64,
        value: Vec<u8>,
        stamp: WriteStamp,
    ) -> (i64, Write) {
        let values = vec![Int(id.0.into()), BigInt(number), Blob(value), BigInt(stamp.timestamp())];
        (number, (self.shared.statements.write_repair.clone(), values))
    }

    /// Writes the rest, before the checkpoint.
    pub(super) fn write_beside(
        &self,
        flush: &Flush<'_>,
        stamp: WriteStamp,
    ) -> Result<(), PortError> {
        let statements = &self.shared.statements;
        let (log_partition, timestamp) = (Int(flush.partition.0.into()), BigInt(stamp.timestamp()));
        let mut writes: Vec<Write> = Vec::new();
        for letter in flush.dead_letters {
            let (offset, letter) = (offset_number(letter.offset), row::write_dead_letter(letter));
            let values =
                vec![log_partition.clone(), BigInt(offset), Blob(letter), timestamp.clone()];
            writes.push((statements.write_letter.clone(), values));
        }
        for mark in flush.sources {
            // No bytes: forgotten.
            let state = mark.state.as_ref().map_or_else(Vec::new, row::write_source);
            let values = vec![
                log_partition.clone(),
                Text(mark.source.to_string()),
                BigInt(stamp.number()),
                Blob(state),
                timestamp.clone(),
            ];
            writes.push((statements.write_source.clone(), values));
        }
        let newest: BTreeMap<BulkId, &BulkEntry> =
            flush.bulk.iter().map(|entry| (entry.object.id, entry)).collect();
        for (id, entry) in newest {
            let values = vec![
                Int(BULK_SLOT),
                Blob(id.0.to_be_bytes().to_vec()),
                log_partition.clone(),
                Blob(row::write_bulk(entry)),
                timestamp.clone(),
            ];
            writes.push((statements.write_bulk.clone(), values));
        }
        self.write_all(writes.into_iter().map(|write| vec![write]).collect())?;
        self.forget_repairs(flush, stamp)
    }

    fn forget_repairs(&self, flush: &Flush<'_>, stamp: WriteStamp) -> Result<(), PortError> {
        let mut gone = Vec::new();
        for note in flush.repairs {
            let RepairNote::Forget { generation } = note else { continue };
            for repair in self.shared.repairs(flush.partition)?.kept {
                if repair.corrections.generation == *generation {
                    let number = BigInt(offset_number(repair.offset));
                    let values =
                        vec![BigInt(stamp.timestamp()), Int(flush.partition.0.into()), number];
                    gone.push(vec![(self.shared.statements.remove_repair.clone(), values)]);
                }
            }
        }
        self.write_all(gone)
    }

    /// Removes states of sources that newer ones stand for. Nothing depends on it: readers take the newest.
    pub(super) fn clean_up(&self, flush: &Flush<'_>, stamp: WriteStamp) {
        let remove = |mark: &model::SourceMark| {
            // Of a forgotten one its last word goes too.
            let below = stamp.number() + i64::from(mark.state.is_none());
            let values = vec![
                BigInt(stamp.timestamp()),
                Int(flush.partition.0.into()),
                Text(mark.source.to_string()),
                BigInt(below),
            ];
            vec![(self.shared.statements.remove_sources_before.clone(), values)]
        };
        if let Err(error) = self.write_all(flush.sources.iter().map(remove).collect()) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "old states of sources stay in the cluster a while"
            );
        }
    }
}

impl Shared {
    /// See [`engine::ports::CounterSnapshot::repairs`].
    pub(super) fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        let mut found = Repairs::default();
        let values = vec![Int(partition.0.into())];
        let stored = self.link.rows::<(i64, Option<Vec<u8>>)>(&self.statements.repairs, values)?;
        for (number, value) in stored {
            let Some(value) = value else { continue };
            let read = |damage| damaged("corrections", damage);
            match u64::try_from(number) {
                Ok(offset) => {
                    let repair: Repair =
                        repairs::read_repair(Offset(offset), &value).map_err(read)?;
                    found.kept.push(repair);
                }
                Err(_) => found.newest = Some(repairs::read_newest(&value).map_err(read)?),
            }
        }
        Ok(found)
    }

    /// The states of sources as they were at a place in the log.
    pub(super) fn sources(
        &self,
        partition: PartitionId,
        at: Option<WriteStamp>,
    ) -> Result<Vec<(String, SourceState)>, PortError> {
        let Some(at) = at else { return Ok(Vec::new()) };
        let values = vec![Int(partition.0.into())];
        let stored =
            self.link.rows::<(String, i64, Option<Vec<u8>>)>(&self.statements.sources, values)?;
        let mut newest: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (source, stamp, state) in stored {
            // Older states of a source come first.
            if stamp <= at.number() {
                newest.insert(source, state.unwrap_or_default());
            }
        }
        let known = newest.into_iter().filter(|(_, state)| !state.is_empty());
        known
            .map(|(source, state)| {
                let state = row::read_source(&state).map_err(|damage| damaged("source", damage))?;
                Ok((source, state))
            })
            .collect()
    }

    /// See [`engine::ports::CounterSnapshot::bulk`].
    pub(super) fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        let stored = self
            .link
            .rows::<(Vec<u8>, Option<Vec<u8>>)>(&self.statements.bulk, vec![Int(BULK_SLOT)])?;
        // One that was named in two partitions is the one that was named last.
        let mut newest: BTreeMap<BulkId, BulkEntry> = BTreeMap::new();
        for (_, entry) in stored {
            let Some(entry) = entry else { continue };
            let entry = row::read_bulk(&entry).map_err(|damage| damaged("file's name", damage))?;
            let age = |entry: &BulkEntry| (entry.append_time, entry.offset);
            match newest.get(&entry.object.id) {
                Some(known) if age(known) > age(&entry) => {}
                _ => drop(newest.insert(entry.object.id, entry)),
            }
        }
        Ok(newest.into_values().collect())
    }
}

/// Offsets below what [`WriteStamp`] takes fit.
pub(super) fn offset_number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}
