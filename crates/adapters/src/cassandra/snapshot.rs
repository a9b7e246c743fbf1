//! What is stored, as questions see it: rows as they are when they are read, the checkpoint as it was when
//! it was first asked for.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

use engine::ports::{CounterSnapshot, NamedRow, PortError, Repairs, StoredDeadLetter};
use futures::{StreamExt, TryStreamExt};
use model::{
    BulkEntry, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceState, StoredRow,
};
use parking_lot::Mutex;
use scylla::value::CqlValue::{BigInt, Int, Text};

use super::flush::{DAYS, HOURS};
use super::rows::{bucket, period, read_hour};
use super::session::{Pages, Values, all_pages};
use super::stamp::WriteStamp;
use super::totals::MergedTotals;
use super::{Shared, damaged, get};
use crate::embedded::store::row::{self, Damage};

/// Periods of an item that are in memory at a time: some thousand rows.
const PERIODS_AT_A_TIME: usize = 8;

/// A value; none where it was removed.
pub(super) type Bytes = Option<Vec<u8>>;
/// Item, counts, minutes.
pub(super) type HourRow = (String, Bytes, Bytes);
/// Hour, partition of the log, counts, minutes.
type ItemHour = (i64, i32, Bytes, Bytes);

/// See the module.
pub(super) struct ClusterSnapshot {
    shared: Arc<Shared>,
    checkpoints: Mutex<HashMap<PartitionId, Option<Checkpoint>>>,
    cold_until: OnceLock<Day>,
}

impl ClusterSnapshot {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, checkpoints: Mutex::default(), cold_until: OnceLock::new() }
    }

    /// Calls `each` with the rows of an hour and type, in item order.
    fn hour_rows(
        &self,
        partition: PartitionId,
        hour: u32,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let event_type = Text(event_type.to_owned());
        let values = vec![Int(partition.0.into()), BigInt(hour.into()), event_type];
        let mut pages = Pages::<HourRow>::new(&self.shared.statements.hours_of_type, values);
        while let Some(page) = pages.next(&self.shared.link)? {
            for (item, counts, minutes) in page {
                if let Some(row) = read_hour(counts, minutes).map_err(damaged_row)? {
                    each(&item, row);
                }
            }
        }
        Ok(())
    }

    /// The periods of a range in which there may be rows: of a long range those in which the partition has any
    /// hour at all.
    fn periods(&self, partition: PartitionId, hours: &Range<u32>) -> Result<Vec<i64>, PortError> {
        if hours.is_empty() {
            return Ok(Vec::new());
        }
        let (first, last) = (period(hours.start), period(hours.end - 1));
        if last - first < PERIODS_AT_A_TIME as i64 {
            return Ok((first..=last).collect());
        }
        let filled = self.hours(partition, hours.clone())?;
        let mut periods: Vec<i64> = filled.iter().map(|hour| period(hour.0)).collect();
        periods.dedup();
        Ok(periods)
    }

    /// The rows of an item and type in some periods, in hour order.
    fn item_hours(
        &self,
        item: &str,
        event_type: &str,
        periods: &[i64],
        hours: &Range<u32>,
    ) -> Result<Vec<ItemHour>, PortError> {
        let (item, event_type) = (Text(item.to_owned()), Text(event_type.to_owned()));
        let (start, end) = (BigInt(hours.start.into()), BigInt(hours.end.into()));
        let values = |period: &i64| {
            let names = [item.clone(), event_type.clone()];
            names.into_iter().chain([BigInt(*period), start.clone(), end.clone()]).collect()
        };
        let asked: Vec<Values> = periods.iter().map(values).collect();
        let (statement, session) =
            (self.shared.statements.item_hours.clone(), self.shared.link.session());
        let found: Vec<Vec<ItemHour>> = self.shared.link.wait(async move {
            let ask = |values| {
                let (session, statement) = (session.clone(), statement.clone());
                async move { all_pages::<ItemHour>(&session, &statement, values).await }
            };
            let asked = futures::stream::iter(asked.into_iter().map(ask));
            asked.buffered(PERIODS_AT_A_TIME).try_collect().await
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    fn day_rows(
        &self,
        partition: PartitionId,
        day: u32,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let event_type = Text(event_type.to_owned());
        let values = vec![Int(partition.0.into()), BigInt(day.into()), event_type];
        let mut pages = Pages::<(String, Bytes)>::new(&self.shared.statements.days_of_type, values);
        while let Some(page) = pages.next(&self.shared.link)? {
            for (item, counts) in page {
                if let Some(row) = read_row(counts)? {
                    each(&item, row);
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    /// How far a partition is.
    pub(super) fn checkpoint(&self, id: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        let rows =
            self.link.rows::<(Bytes,)>(&self.statements.checkpoint, vec![Int(id.0.into())])?;
        let bytes = rows.into_iter().find_map(|row| row.0);
        let checkpoint = bytes.map(|bytes| row::read_checkpoint(&bytes)).transpose();
        checkpoint.map_err(|damage| damaged(&format!("checkpoint of {id}"), damage))
    }

    /// The hours or days within the range that may have rows, each with the types.
    pub(super) fn filled(
        &self,
        id: PartitionId,
        kind: i32,
        range: Range<u32>,
    ) -> Result<Vec<(u32, String)>, PortError> {
        let (start, end) = (BigInt(range.start.into()), BigInt(range.end.into()));
        let values = vec![Int(id.0.into()), Int(kind), start, end];
        let rows = self.link.rows::<(i64, String)>(&self.statements.filled, values)?;
        rows.into_iter()
            .map(|(number, event_type)| match u32::try_from(number) {
                Ok(number) => Ok((number, event_type)),
                Err(_) => Err(damaged("list of hours", Damage::Number)),
            })
            .collect()
    }
}

impl CounterSnapshot for ClusterSnapshot {
    fn checkpoint(&self, partition: PartitionId) -> Result<Option<Checkpoint>, PortError> {
        if let Some(known) = self.checkpoints.lock().get(&partition) {
            return Ok(*known);
        }
        let read = self.shared.checkpoint(partition)?;
        // Another thread may have been first.
        Ok(*self.checkpoints.lock().entry(partition).or_insert(read))
    }

    fn get(
        &self,
        partition: PartitionId,
        keys: &[RowKey<'_>],
    ) -> Result<Vec<Option<StoredRow>>, PortError> {
        get::rows(&self.shared, partition, keys)
    }

    fn scan_item(
        &self,
        partition: PartitionId,
        item: &str,
        event_type: &str,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, StoredRow),
    ) -> Result<(), PortError> {
        for periods in self.periods(partition, &hours)?.chunks(PERIODS_AT_A_TIME) {
            for (hour, of_partition, counts, minutes) in
                self.item_hours(item, event_type, periods, &hours)?
            {
                if of_partition != i32::from(partition.0) {
                    continue;
                }
                let hour = u32::try_from(hour).map_err(|_| damaged_row(Damage::Number))?;
                if let Some(row) = read_hour(counts, minutes).map_err(damaged_row)? {
                    each(Hour(hour), row);
                }
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
        self.hour_rows(partition, hour.0, event_type, each)
    }

    fn scan_hours(
        &self,
        partition: PartitionId,
        hours: Range<u32>,
        each: &mut dyn FnMut(Hour, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        for (hour, event_type) in self.shared.filled(partition, HOURS, hours)? {
            let mut of_type = |item: &str, row| each(Hour(hour), &event_type, item, row);
            self.hour_rows(partition, hour, &event_type, &mut of_type)?;
        }
        Ok(())
    }

    fn scan_totals(
        &self,
        partition: PartitionId,
        each: &mut dyn FnMut(&str, &str, StoredRow) -> ControlFlow<()>,
    ) -> Result<(), PortError> {
        MergedTotals::new(&self.shared, partition).for_each(each)
    }

    fn scan_item_totals(
        &self,
        partition: PartitionId,
        item: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        let values = vec![Int(partition.0.into()), Int(bucket(item)), Text(item.to_owned())];
        let statement = &self.shared.statements.totals_of_item;
        for (event_type, counts) in self.shared.link.rows::<(String, Bytes)>(statement, values)? {
            if let Some(row) = read_row(counts)? {
                each(&event_type, row);
            }
        }
        Ok(())
    }

    fn hours(&self, partition: PartitionId, hours: Range<u32>) -> Result<Vec<Hour>, PortError> {
        let filled = self.shared.filled(partition, HOURS, hours)?;
        let mut hours: Vec<Hour> = filled.into_iter().map(|(hour, _)| Hour(hour)).collect();
        hours.dedup();
        Ok(hours)
    }

    fn repairs(&self, partition: PartitionId) -> Result<Repairs, PortError> {
        self.shared.repairs(partition)
    }

    fn scan_day(
        &self,
        partition: PartitionId,
        day: Day,
        event_type: &str,
        each: &mut dyn FnMut(&str, StoredRow),
    ) -> Result<(), PortError> {
        self.day_rows(partition, day.0, event_type, each)
    }

    fn scan_days(
        &self,
        partition: PartitionId,
        days: Range<u32>,
        each: &mut dyn FnMut(Day, &str, &str, StoredRow),
    ) -> Result<(), PortError> {
        for (day, event_type) in self.shared.filled(partition, DAYS, days)? {
            let mut of_type = |item: &str, row| each(Day(day), &event_type, item, row);
            self.day_rows(partition, day, &event_type, &mut of_type)?;
        }
        Ok(())
    }

    fn days(&self, partition: PartitionId, days: Range<u32>) -> Result<Vec<Day>, PortError> {
        let filled = self.shared.filled(partition, DAYS, days)?;
        let mut days: Vec<Day> = filled.into_iter().map(|(day, _)| Day(day)).collect();
        days.dedup();
        Ok(days)
    }

    fn cold_until(&self) -> Result<Day, PortError> {
        if let Some(known) = self.cold_until.get() {
            return Ok(*known);
        }
        let read = self.shared.cold_until()?;
        Ok(*self.cold_until.get_or_init(|| read))
    }

    fn page(
        &self,
        partition: PartitionId,
        hour: Hour,
        behind: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<NamedRow>, PortError> {
        let mut page = Vec::new();
        for (_, event_type) in self.shared.filled(partition, HOURS, hour.0..hour.0 + 1)? {
            let after = match behind {
                Some((last_type, _)) if *event_type < *last_type => continue,
                Some((last_type, item)) if *event_type == *last_type => item,
                _ => "",
            };
            let wanted = i32::try_from(limit - page.len()).unwrap_or(i32::MAX);
            if wanted == 0 {
                break;
            }
            let values = vec![
                Int(partition.0.into()),
                BigInt(hour.0.into()),
                Text(event_type.clone()),
                Text(after.to_owned()),
                Int(wanted),
            ];
            let statement = &self.shared.statements.hours_behind;
            for (item, counts, minutes) in self.shared.link.rows::<HourRow>(statement, values)? {
                let row = read_hour(counts, minutes).map_err(damaged_row)?;
                // Rows are removed wholly: one without counts was never written.
                let row = row.ok_or_else(|| damaged_row(Damage::Length))?;
                page.push((event_type.clone(), item, row));
            }
        }
        Ok(page)
    }

    fn dead_letters(
        &self,
        partition: PartitionId,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, PortError> {
        self.shared.dead_letters(partition, from, limit)
    }

    fn sources(&self, partition: PartitionId) -> Result<Vec<(String, SourceState)>, PortError> {
        let checkpoint = self.checkpoint(partition)?;
        let stamp = checkpoint.as_ref().map(WriteStamp::of).transpose()?;
        self.shared.sources(partition, stamp)
    }

    fn bulk(&self) -> Result<Vec<BulkEntry>, PortError> {
        self.shared.bulk()
    }
}

/// Reads a row that has no minutes; none where it was removed.
pub(super) fn read_row(counts: Bytes) -> Result<Option<StoredRow>, PortError> {
    counts.map(|counts| row::read_row(&counts)).transpose().map_err(damaged_row)
}

pub(super) fn damaged_row(damage: Damage) -> PortError {
    damaged("row", damage)
}
