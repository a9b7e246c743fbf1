//! How corrections get into the store: as rows of a flush, computed where their record stands.

use std::collections::{BTreeMap, BTreeSet};

use model::control::Control;
use model::correction::Changed;
use model::counter::{Cell, RowKey, Stamp, StoredRow};
use model::{Correction, Corrections, HourCell, PartitionId, SlotPlace, Summary, TimeRange};

use super::flush::count_on;
use super::memory::Frozen;
use crate::ports::{CounterRow, CounterSnapshot, ErrorKind, PortError, Repair, RepairNote};

/// What the corrections of a frozen table come to.
#[derive(Default)]
pub(super) struct Corrected<'a> {
    /// The rows that they touch, with the table's own events, in key order.
    pub(super) rows: Vec<CounterRow<'a>>,
    /// What is kept of it.
    pub(super) notes: Vec<RepairNote>,
}

/// Rows of one item and type, all corrected or none.
type Group<'a> = BTreeMap<RowKey<'a>, StoredRow>;

/// Applies the corrections that stand at the end of a frozen table to the rows as they are there.
///
/// Those that were found before another generation was applied are not applied: they have not seen
/// what it has corrected.
pub(super) fn corrected<'a>(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    frozen: &'a Frozen,
) -> Result<Corrected<'a>, PortError> {
    let mut corrected = Corrected::default();
    if frozen.controls.is_empty() {
        return Ok(corrected);
    }
    let stored = snapshot.repairs(partition)?;
    let mut newest = stored.newest;
    let (mut rows, mut written) = (Group::new(), BTreeSet::new());
    for (offset, control) in &frozen.controls {
        match control {
            Control::Corrections(corrections) => {
                let Corrections { generation, known_offset, .. } = *corrections;
                let is_current = newest
                    .is_none_or(|(offset, newest)| known_offset > offset || generation == newest);
                let (rows, written) = (&mut rows, &mut written);
                let mut build = Build { snapshot, partition, stamp, frozen, rows, written };
                // What a flush that failed half way has decided holds: its rows may be written.
                let decided = stored.kept.iter().find(|repair| repair.offset == *offset);
                let kept = match decided {
                    Some(decided) => build.repeat(corrections, &decided.corrections)?,
                    None if is_current => build.apply(corrections)?,
                    None => Vec::new(),
                };
                let refused = (corrections.cells.len() - kept.len()) as u64;
                let kept = Corrections { cells: kept, ..*corrections };
                corrected.notes.push(RepairNote::Keep(Repair {
                    offset: *offset,
                    refused,
                    corrections: kept,
                }));
                newest = Some((*offset, generation));
            }
            Control::Confirmed { generation } => {
                corrected.notes.push(RepairNote::Forget { generation: *generation });
            }
            // These say nothing of rows.
            Control::Settings { .. }
            | Control::Retention(_)
            | Control::BulkObject(_)
            | Control::Refused(_)
            | Control::Vacant => {}
        }
    }
    corrected.rows = rows.into_iter().map(|(key, row)| CounterRow { key, row }).collect();
    Ok(corrected)
}

struct Build<'b, 'a> {
    snapshot: &'b dyn CounterSnapshot,
    partition: PartitionId,
    stamp: Stamp,
    frozen: &'a Frozen,
    rows: &'b mut Group<'a>,
    /// Rows that a flush of the same table has written as they are to be before it failed.
    written: &'b mut BTreeSet<RowKey<'a>>,
}

impl<'a> Build<'_, 'a> {
    /// The corrections that were applied, in key order.
    fn apply(&mut self, corrections: &'a Corrections) -> Result<Vec<Correction>, PortError> {
        let mut groups: BTreeMap<(&str, &str), Vec<&'a Correction>> = BTreeMap::new();
        for cell in &corrections.cells {
            groups.entry((&cell.item, &cell.event_type)).or_default().push(cell);
        }
        let mut applied = BTreeSet::new();
        for ((item, event_type), cells) in groups {
            if let Some(rows) = self.group(item, event_type, &cells)? {
                self.rows.extend(rows);
                applied.extend(cells.iter().map(|cell| cell.key()));
            }
        }
        let is_applied = |cell: &&Correction| applied.contains(&cell.key());
        Ok(corrections.cells.iter().filter(is_applied).cloned().collect())
    }

    /// As [`Self::apply`], where it is known which corrections were applied.
    fn repeat(
        &mut self,
        corrections: &'a Corrections,
        applied: &Corrections,
    ) -> Result<Vec<Correction>, PortError> {
        let mut groups: BTreeMap<(&str, &str), Vec<&'a Correction>> = BTreeMap::new();
        let key = |cell: &&Correction| applied.cells.iter().any(|kept| kept.key() == cell.key());
        for cell in corrections.cells.iter().filter(key) {
            groups.entry((&cell.item, &cell.event_type)).or_default().push(cell);
        }
        for ((item, event_type), cells) in groups {
            let Some(rows) = self.group(item, event_type, &cells)? else {
                let context = format!(
                    "partition {}: a correction of {item:?} was begun and cannot be repeated: the \
                     store's rows are not those that it was decided by",
                    self.partition
                );
                return Err(PortError::new(ErrorKind::Corrupt, context));
            };
            self.rows.extend(rows);
        }
        Ok(applied.cells.clone())
    }

    /// The rows of an item and type as they are to be; none where one of its cells has changed in
    /// a way that leaves open what it should be.
    fn group(
        &mut self,
        item: &'a str,
        event_type: &'a str,
        cells: &[&'a Correction],
    ) -> Result<Option<Group<'a>>, PortError> {
        let total_key = RowKey::Total { item, event_type };
        let mut total = self.now(total_key, TimeRange::ALL)?;
        let mut rows = Group::new();
        for cell in cells {
            let changed = match cell.place {
                None if self.written.contains(&total_key) => Ok(()),
                None => correct_whole(&mut total, cell),
                Some(place) if !self.is_kept(place) => Err(Changed),
                Some(place) => {
                    let HourCell { hour, .. } = place;
                    // A flush looks only for hours up to there.
                    total.newest_hour = total.newest_hour.max(Some(hour));
                    let key = RowKey::Hour { hour, event_type, item };
                    let row = match rows.entry(key) {
                        std::collections::btree_map::Entry::Occupied(row) => row.into_mut(),
                        std::collections::btree_map::Entry::Vacant(row) => {
                            let range = hour.range();
                            row.insert(self.now(key, range)?)
                        }
                    };
                    match self.written.contains(&key) {
                        true => Ok(()),
                        false => correct_cell(row, place.slot, cell),
                    }
                }
            };
            if changed.is_err() {
                return Ok(None);
            }
        }
        rows.insert(total_key, total);
        Ok(Some(rows))
    }

    /// Whether the cell is as fine as what is kept where the corrections stand: when minutes are
    /// folded and hours go to the archive is nothing that the log says.
    fn is_kept(&self, place: HourCell) -> bool {
        let horizons = self.frozen.checkpoint.horizons;
        let HourCell { hour, slot } = place;
        hour.day() >= horizons.hour() && (slot == Cell::WHOLE || hour >= horizons.minute())
    }

    /// A row as it is where the corrections stand: stored, or corrected just before, and what the
    /// table has counted since.
    fn now(&mut self, key: RowKey<'a>, range: TimeRange) -> Result<StoredRow, PortError> {
        if let Some(row) = self.rows.get(&key) {
            return Ok(row.clone());
        }
        let stored = self.snapshot.get(self.partition, &[key])?.pop().flatten();
        let mut row = stored.unwrap_or_default();
        if row.has_counted(self.stamp) {
            self.written.insert(key);
            return Ok(row);
        }
        let mut cells: Vec<Cell> = Vec::new();
        let (RowKey::Total { item, event_type }
        | RowKey::Hour { item, event_type, .. }
        | RowKey::Day { item, event_type, .. }) = key;
        self.frozen.table.for_each_slot(item, event_type, range, |slot, summary| match key {
            RowKey::Hour { hour, .. } => match slot.place() {
                SlotPlace::Hour(of, slot) if of == hour => {
                    cells.push(Cell { slot, summary: *summary });
                }
                // A day that begins with this hour has a row of its own.
                SlotPlace::Hour(..) | SlotPlace::Day(_) => {}
            },
            RowKey::Day { .. } | RowKey::Total { .. } => {
                if let SlotPlace::Hour(hour, _) = slot.place() {
                    row.newest_hour = row.newest_hour.max(Some(hour));
                }
                match cells.first_mut() {
                    Some(whole) => whole.summary.add(summary),
                    None => cells.push(Cell { slot: Cell::WHOLE, summary: *summary }),
                }
            }
        });
        count_on(self.partition, &mut row, self.stamp, &cells)?;
        Ok(row)
    }
}

fn correct_whole(row: &mut StoredRow, correction: &Correction) -> Result<(), Changed> {
    let summary = correction.apply(&row.summary())?;
    row.cells.clear();
    if summary.count > 0 {
        row.cells.push(Cell { slot: Cell::WHOLE, summary });
    }
    Ok(())
}

fn correct_cell(row: &mut StoredRow, slot: u8, correction: &Correction) -> Result<(), Changed> {
    if slot == Cell::WHOLE {
        return correct_whole(row, correction);
    }
    match row.cells.binary_search_by_key(&slot, |cell| cell.slot) {
        Ok(at) => {
            let summary = correction.apply(&row.cells[at].summary)?;
            row.cells[at].summary = summary;
            if summary.count == 0 {
                row.cells.remove(at);
            }
        }
        Err(at) => {
            let summary = correction.apply(&Summary::EMPTY)?;
            if summary.count > 0 {
                row.cells.insert(at, Cell { slot, summary });
            }
        }
    }
    Ok(())
}

/// The rows of a flush with those that corrections touch put in their places.
pub(super) struct Merged<'a, I: Iterator> {
    rows: std::iter::Peekable<I>,
    corrected: std::iter::Peekable<std::vec::IntoIter<CounterRow<'a>>>,
}

impl<'a, I: Iterator<Item = Result<CounterRow<'a>, PortError>>> Merged<'a, I> {
    pub(super) fn new(rows: I, corrected: Vec<CounterRow<'a>>) -> Self {
        Self { rows: rows.peekable(), corrected: corrected.into_iter().peekable() }
    }
}

impl<'a, I: Iterator<Item = Result<CounterRow<'a>, PortError>>> Iterator for Merged<'a, I> {
    type Item = Result<CounterRow<'a>, PortError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(corrected) = self.corrected.peek() else { return self.rows.next() };
        match self.rows.peek() {
            Some(Ok(row)) if row.key < corrected.key => self.rows.next(),
            Some(Ok(row)) if row.key == corrected.key => {
                // The corrected row has the table's events too.
                self.rows.next();
                self.corrected.next().map(Ok)
            }
            Some(Err(_)) => self.rows.next(),
            Some(Ok(_)) | None => self.corrected.next().map(Ok),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, _) = self.rows.size_hint();
        (least, Some(least + self.corrected.len()))
    }
}
