//! How a flush is written: begun, all rows, committed.

use std::collections::BTreeMap;

use engine::ports::{CounterRow, ErrorKind, Flush, PortError, Rows};
use futures::{StreamExt, TryStreamExt};
use model::{Checkpoint, PartitionId, RowKey};
use scylla::value::CqlValue::{BigInt, Blob, Int, Text};

use super::owners::{Owned, Place};
use super::rows::{HourColumns, bucket, bytes, period};
use super::session::{self, Write};
use super::stamp::WriteStamp;
use super::{CassandraStore, Partition};

/// Rows that are read, made and written at a time.
const CHUNK_ROWS: usize = 1_024;
/// Writes under way at a time.
const WRITES_AT_A_TIME: usize = 64;
/// A batch with so many bytes of values is full: servers warn of batches above 5 KiB.
const BATCH_BYTES: usize = 4 << 10;
/// So many hours and days of a type are remembered as filled; then they are noted anew.
const FILLED_MAX: usize = 64 << 10;

/// What `filled` tells of.
pub(super) const HOURS: i32 = 0;
/// See [`HOURS`].
pub(super) const DAYS: i32 = 1;

/// Which Cassandra partition a write goes to.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target<'a> {
    Totals(i32),
    Hour(u32, &'a str),
    ItemHours(&'a str, &'a str, i64),
    Day(u32, &'a str),
}

/// Writes grouped by where they go.
#[derive(Default)]
struct Groups<'a> {
    open: BTreeMap<Target<'a>, (usize, Vec<Write>)>,
    full: Vec<Vec<Write>>,
}

impl<'a> Groups<'a> {
    /// Adds writes that take effect together.
    fn add(&mut self, target: Target<'a>, size: usize, writes: impl IntoIterator<Item = Write>) {
        let (bytes, group) = self.open.entry(target).or_default();
        if *bytes + size > BATCH_BYTES && !group.is_empty() {
            self.full.push(std::mem::take(group));
            *bytes = 0;
        }
        *bytes += size;
        group.extend(writes);
    }

    fn into_batches(self) -> Vec<Vec<Write>> {
        let mut batches = self.full;
        batches.extend(self.open.into_values().map(|(_, group)| group));
        batches
    }
}

impl CassandraStore {
    /// See [`engine::ports::CounterStore::flush`].
    pub(super) fn write_flush(
        &self,
        flush: &Flush<'_>,
        rows: &mut Rows<'_>,
    ) -> Result<(), PortError> {
        let Flush { partition: id, checkpoint, .. } = *flush;
        let partition = self.partition(id)?;
        let mut owned = partition.owned.lock();
        let place = self.place(id, &mut owned)?;
        check_is_next(id, &checkpoint, &place)?;
        let stamp = WriteStamp::of(&checkpoint)?;
        // Whatever fails from now on may have been done after all.
        *owned = Owned::Unsure;
        self.begin(id, &place, checkpoint.next_offset)?;
        self.write_before_rows(flush, stamp)?;
        loop {
            let chunk: Vec<_> = rows.take(CHUNK_ROWS).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                break;
            }
            self.write_rows(id, partition, &checkpoint, stamp, &chunk)?;
        }
        self.write_beside(flush, stamp)?;
        self.commit(id, &checkpoint)?;
        *owned = Owned::At(Place { checkpoint: Some(checkpoint), begun: None });
        drop(owned);
        self.clean_up(flush, stamp);
        Ok(())
    }

    fn write_rows(
        &self,
        id: PartitionId,
        partition: &Partition,
        checkpoint: &Checkpoint,
        stamp: WriteStamp,
        rows: &[CounterRow<'_>],
    ) -> Result<(), PortError> {
        self.write_filled(id, partition, stamp, rows)?;
        let statements = &self.shared.statements;
        let (log_partition, timestamp) = (Int(id.0.into()), BigInt(stamp.timestamp()));
        let text = |text: &str| Text(text.to_owned());
        let mut groups = Groups::default();
        for CounterRow { key, row } in rows {
            match *key {
                RowKey::Total { item, event_type } => {
                    let (counts, bucket) = (bytes(row), bucket(item));
                    let size = item.len() + event_type.len() + counts.len();
                    let values = vec![
                        log_partition.clone(),
                        Int(bucket),
                        text(item),
                        text(event_type),
                        Blob(counts),
                        timestamp.clone(),
                    ];
                    let write = (statements.write_total.clone(), values);
                    groups.add(Target::Totals(bucket), size, [write]);
                }
                RowKey::Day { day, event_type, item } => {
                    let counts = bytes(row);
                    let size = item.len() + counts.len();
                    let values = vec![
                        log_partition.clone(),
                        BigInt(day.0.into()),
                        text(event_type),
                        text(item),
                        Blob(counts),
                        timestamp.clone(),
                    ];
                    let write = (statements.write_day.clone(), values);
                    groups.add(Target::Day(day.0, event_type), size, [write]);
                }
                RowKey::Hour { hour, event_type, item } => {
                    let columns = HourColumns::of(hour, row, checkpoint);
                    let minutes_len = columns.minutes.as_ref().map_or(0, |minutes| minutes.0.len());
                    let size = 2 * item.len() + columns.counts.len() + minutes_len;
                    let number = BigInt(hour.0.into());
                    let by_time =
                        [log_partition.clone(), number.clone(), text(event_type), text(item)];
                    let period = period(hour.0);
                    let by_item = [
                        text(item),
                        text(event_type),
                        BigInt(period),
                        number,
                        log_partition.clone(),
                    ];
                    let of = |first, of_minutes, key: &[_]| {
                        hour_writes(first, of_minutes, key, &columns, stamp)
                    };
                    let writes = of(
                        &statements.write_item_hour,
                        &statements.write_item_hour_minutes,
                        &by_item,
                    );
                    groups.add(Target::ItemHours(item, event_type, period), size, writes);
                    let writes =
                        of(&statements.write_hour, &statements.write_hour_minutes, &by_time);
                    groups.add(Target::Hour(hour.0, event_type), size, writes);
                }
            }
        }
        self.write_all(groups.into_batches())
    }

    /// Notes hours and days that are about to have rows.
    fn write_filled(
        &self,
        id: PartitionId,
        partition: &Partition,
        stamp: WriteStamp,
        rows: &[CounterRow<'_>],
    ) -> Result<(), PortError> {
        let mut known = partition.filled.lock();
        let mut new: Vec<(i32, i64, String)> = Vec::new();
        for CounterRow { key, .. } in rows {
            let (kind, number, event_type) = match *key {
                RowKey::Total { .. } => continue,
                RowKey::Hour { hour, event_type, .. } => (HOURS, i64::from(hour.0), event_type),
                RowKey::Day { day, event_type, .. } => (DAYS, i64::from(day.0), event_type),
            };
            let is_last = |last: &(i32, i64, String)| {
                (last.0, last.1, &*last.2) == (kind, number, event_type)
            };
            // Rows come in key order.
            if !new.last().is_some_and(is_last) {
                new.push((kind, number, event_type.to_owned()));
            }
        }
        new.retain(|filled| !known.contains(filled));
        let write = |(kind, number, event_type): &(i32, i64, String)| {
            let values = vec![
                Int(id.0.into()),
                Int(*kind),
                BigInt(*number),
                Text(event_type.clone()),
                BigInt(stamp.timestamp()),
            ];
            vec![(self.shared.statements.write_filled.clone(), values)]
        };
        self.write_all(new.iter().map(write).collect())?;
        if known.len() + new.len() > FILLED_MAX {
            known.clear();
        }
        known.extend(new);
        Ok(())
    }

    /// Writes batches side by side, and gives up at the first that fails.
    pub(super) fn write_all(&self, batches: Vec<Vec<Write>>) -> Result<(), PortError> {
        if batches.is_empty() {
            return Ok(());
        }
        let session = self.shared.link.session();
        let consistency = self.shared.link.place().write_consistency;
        self.shared.link.wait(async move {
            let writes = batches.into_iter().map(|batch| {
                let session = session.clone();
                async move { session::write(&session, consistency, batch).await }
            });
            let writes = futures::stream::iter(writes).buffer_unordered(WRITES_AT_A_TIME);
            writes.try_for_each(|()| std::future::ready(Ok(()))).await
        })
    }
}

/// The writes of an hour row to one of its two places.
fn hour_writes(
    whole: &scylla::statement::prepared::PreparedStatement,
    minutes: &scylla::statement::prepared::PreparedStatement,
    key: &[scylla::value::CqlValue],
    columns: &HourColumns,
    stamp: WriteStamp,
) -> Vec<Write> {
    let timestamp = BigInt(stamp.timestamp());
    let mut values = key.to_vec();
    values.extend([Blob(columns.counts.clone()), timestamp.clone()]);
    let mut writes = vec![(whole.clone(), values)];
    if let Some((cells, life_secs)) = &columns.minutes {
        let mut values = vec![timestamp, Int(*life_secs), Blob(cells.clone())];
        values.extend_from_slice(key);
        writes.push((minutes.clone(), values));
    }
    writes
}

/// Refuses a flush that is not above the checkpoint, or not the one that was begun.
fn check_is_next(id: PartitionId, to: &Checkpoint, place: &Place) -> Result<(), PortError> {
    let at = |checkpoint: &Checkpoint| (checkpoint.log_epoch, checkpoint.next_offset);
    let conflict = |what: String| {
        let context = format!(
            "partition {id}: a flush up to offset {} {what}: another writer is at work",
            to.next_offset
        );
        Err(PortError::new(ErrorKind::Conflict, context))
    };
    if let Some(stored) = place.checkpoint.filter(|stored| at(to) <= at(stored)) {
        return conflict(format!("came after one up to {}", stored.next_offset));
    }
    match place.begun {
        Some(begun) if begun != to.next_offset => {
            conflict(format!("came while one up to {begun} is not finished"))
        }
        _ => Ok(()),
    }
}
