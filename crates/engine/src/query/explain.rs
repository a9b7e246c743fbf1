//! The parts behind a number: what store and memory hold of it, by partition, at one moment.

use model::aggregate::MemoryTable;
use model::counter::RowKey;
use model::{
    Checkpoint, Day, Horizons, Offset, PartitionId, Slot, Stamp, StoredRow, Summary, TimeRange,
    TimestampMs,
};

use super::ahead::{Ahead, RowOf};
use super::cover::{Cover, Pinned};
use super::{Quality, Query, QueryError};
use crate::ports::{CounterSnapshot, PortError};

/// A number and what it is made of: the parts add up to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The range that was really covered; none for the total.
    pub range: Option<TimeRange>,
    /// From where on minutes and hours are kept in the partitions asked.
    pub horizons: Horizons,
    /// The number.
    pub summary: Summary,
    /// Its parts, in each partition that counts the item.
    pub partitions: Vec<PartitionParts>,
    /// What cold files hold, of all partitions.
    pub cold: Summary,
    /// The first day that is in no cold file.
    pub cold_until: Day,
    /// How good it is.
    pub quality: Quality,
}

/// What a partition holds of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionParts {
    /// Which partition.
    pub partition: PartitionId,
    /// How far the rows are; none where nothing was flushed yet.
    pub checkpoint: Option<Checkpoint>,
    /// What the store holds.
    pub rows: Vec<RowsPart>,
    /// What the rows lack, oldest first.
    pub memory: Vec<MemoryPart>,
    /// Repeats dropped in the partition since the process started, of all items.
    pub duplicates: u64,
    /// Corrections in the rows that nobody has confirmed yet; no parts beside them.
    pub corrections: Vec<CorrectedCell>,
}

/// A cell that was corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorrectedCell {
    /// Where the correction stands in the partition's log.
    pub offset: Offset,
    /// Start of the minute or hour.
    pub start: TimestampMs,
    /// What it added to the number of events.
    pub count: i64,
}

/// Which rows of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsKind {
    /// The one of all time.
    Total,
    /// Those of hours.
    Hours,
    /// Those of days: what came when the day's hours were no longer kept.
    Days,
}

/// Rows of one kind, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsPart {
    /// Which they are.
    pub kind: RowsKind,
    /// How many there are.
    pub rows: u64,
    /// What of them lies in the range.
    pub summary: Summary,
    /// The stretch of log that they counted: of the newest row, from the least base on. Default where
    /// there are none.
    pub stamp: Stamp,
}

/// What one memory table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// Whether it counts no more and is on its way to the store.
    pub is_frozen: bool,
    /// The first offset counted here.
    pub from: Offset,
    /// The first offset not counted here.
    pub next_offset: Offset,
    /// What lies in the range.
    pub summary: Summary,
}

impl RowsPart {
    fn none(kind: RowsKind) -> Self {
        Self { kind, rows: 0, summary: Summary::EMPTY, stamp: Stamp::default() }
    }

    /// Adds a row, of which `summary` lies in the range.
    fn add(&mut self, row: &StoredRow, summary: &Summary) {
        let base_offset = match self.rows {
            0 => row.stamp.base_offset,
            _ => self.stamp.base_offset.min(row.stamp.base_offset),
        };
        self.rows += 1;
        self.summary.add(summary);
        let place = |stamp: &Stamp| (stamp.log_epoch, stamp.next_offset);
        let newest = if place(&row.stamp) > place(&self.stamp) { row.stamp } else { self.stamp };
        self.stamp = Stamp { base_offset, ..newest };
    }
}

impl Query {
    /// What [`Query::count`] adds up, part by part.
    pub fn explain(
        &self,
        item: &str,
        event_type: &str,
        range: Option<TimeRange>,
    ) -> Result<Explained, QueryError> {
        self.ready()?;
        let partitions = self.partitions_of(item)?;
        let look = |tables: &[&MemoryTable], range| {
            let part = |(at, table): (usize, &&MemoryTable)| MemoryPart {
                // The last one is still counted in.
                is_frozen: at + 1 < tables.len(),
                from: table.from(),
                next_offset: table.next_offset(),
                summary: Summary::EMPTY,
            };
            let slots = |table: &MemoryTable| {
                let mut slots = Vec::new();
                table.for_each_slot(item, event_type, range, |slot, sum| slots.push((slot, *sum)));
                slots
            };
            let with_slots = |at_table: (usize, &&MemoryTable)| (part(at_table), slots(at_table.1));
            tables.iter().enumerate().map(with_slots).collect::<Vec<_>>()
        };
        let (cover, pinned) = self.pin_all(&partitions, range.unwrap_or(TimeRange::ALL), look)?;
        let mut summary = Summary::EMPTY;
        let mut parts = Vec::with_capacity(pinned.len());
        for pinned in pinned {
            let mut ahead = pinned.ahead();
            let Pinned { partition, snapshot, memory, .. } = pinned;
            let id = partition.id;
            let names = (item, event_type);
            let rows = match range {
                None => vec![total_part(&*snapshot, id, names, &mut ahead)?],
                Some(_) => range_parts(&*snapshot, id, names, &cover, &mut ahead)?.to_vec(),
            };
            let lacked = |(mut part, slots): (MemoryPart, Vec<(Slot, Summary)>)| {
                for (slot, summary) in slots {
                    let row = || if range.is_some() { RowOf::from(slot) } else { RowOf::All };
                    if ahead.lacks(part.from, row) {
                        part.summary.add(&summary);
                    }
                }
                part
            };
            let memory: Vec<MemoryPart> = memory.into_iter().map(lacked).collect();
            rows.iter().for_each(|part| summary.add(&part.summary));
            memory.iter().for_each(|part| summary.add(&part.summary));
            let checkpoint = snapshot.checkpoint(id)?;
            let duplicates = partition.status().duplicates;
            let of_range = range.unwrap_or(TimeRange::ALL);
            let corrections = corrections(&*snapshot, id, (item, event_type), of_range)?;
            let partition = id;
            parts.push(PartitionParts {
                partition,
                checkpoint,
                rows,
                memory,
                duplicates,
                corrections,
            });
        }
        let mut cold = Summary::EMPTY;
        if range.is_some()
            && let Some(files) = self.cold_files(&cover)?
        {
            let days = cover.cold_days();
            files.scan_item(item, event_type, days, &mut |_, part| cold.add(part))?;
        }
        summary.add(&cold);
        let Cover { horizons, cold_until, quality, .. } = cover;
        let quality = Quality { is_final: quality.is_final && range.is_some(), ..quality };
        let range = range.map(|_| cover.range);
        let partitions = parts;
        Ok(Explained { range, horizons, summary, partitions, cold, cold_until, quality })
    }
}

/// The corrections of an item's cells that begin in a range.
fn corrections(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    (item, event_type): (&str, &str),
    range: TimeRange,
) -> Result<Vec<CorrectedCell>, PortError> {
    let mut corrected = Vec::new();
    for repair in snapshot.repairs(partition)?.kept {
        for cell in &repair.corrections.cells {
            let Some(place) = cell.place else { continue };
            let start = place.hour.minute(place.slot % 60);
            if (&*cell.item, &*cell.event_type) == (item, event_type) && range.contains(start) {
                let count = cell.is.count as i64 - cell.was.count as i64;
                let (offset, start) = (repair.offset, start.start());
                corrected.push(CorrectedCell { offset, start, count });
            }
        }
    }
    Ok(corrected)
}

fn total_part(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    (item, event_type): (&str, &str),
    ahead: &mut Ahead<RowOf>,
) -> Result<RowsPart, QueryError> {
    let mut part = RowsPart::none(RowsKind::Total);
    for row in snapshot.get(partition, &[RowKey::Total { item, event_type }])?.iter().flatten() {
        ahead.note(row, || RowOf::All);
        part.add(row, &row.summary());
    }
    Ok(part)
}

fn range_parts(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    (item, event_type): (&str, &str),
    cover: &Cover,
    ahead: &mut Ahead<RowOf>,
) -> Result<[RowsPart; 2], QueryError> {
    let mut hours = RowsPart::none(RowsKind::Hours);
    let mut of_hour = |hour, row: StoredRow| {
        ahead.note(&row, || RowOf::Hour(hour));
        let mut within = Summary::EMPTY;
        cover.for_each_cell(hour, &row, &mut |_, summary| within.add(summary));
        hours.add(&row, &within);
    };
    snapshot.scan_item(partition, item, event_type, cover.hours(), &mut of_hour)?;
    let mut days = RowsPart::none(RowsKind::Days);
    let found = snapshot.days(partition, cover.days())?;
    let keys: Vec<_> = found.iter().map(|&day| RowKey::Day { day, event_type, item }).collect();
    for (day, row) in found.iter().zip(snapshot.get(partition, &keys)?) {
        let Some(row) = row else { continue };
        ahead.note(&row, || RowOf::Day(*day));
        days.add(&row, &row.summary());
    }
    Ok([hours, days])
}
