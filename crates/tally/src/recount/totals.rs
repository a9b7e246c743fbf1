//! Checks totals: each is the sum of all hours of its item and type.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use batch::Scope;
use engine::ports::{CounterSnapshot, PortError};
use model::{Cell, Checkpoint, Correction, Hour, PartitionId, StoredRow, Summary};

use super::found::Found;
use super::job::is_ahead;

/// Totals added up at a time. A partition with more is gone through several times, each time with
/// a share of the items.
const TOTALS_AT_A_TIME: u64 = 1 << 20;

type Names = (Box<str>, Box<str>);
type Place = (Hour, u8);

/// What the cells of an item and type should be that are stored otherwise.
type Wrong<'a> = HashMap<(&'a str, &'a str), HashMap<Place, &'a Correction>>;

/// Totals of a partition and scope that are not the sum of its hours as they should be. `found` are the wrong
/// cells of the same snapshot and scope.
pub(super) fn check(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    checkpoint: &Checkpoint,
    scope: &Scope,
    found: &[Found],
) -> Result<Vec<Found>, PortError> {
    let mut wrong = Wrong::new();
    for found in found.iter().filter(|found| found.partition == partition) {
        let Some(place) = found.cell.place else { continue };
        let names = (&*found.cell.item, &*found.cell.event_type);
        wrong.entry(names).or_default().insert((place.hour, place.slot), &found.cell);
    }
    let mut totals = 0;
    snapshot.scan_totals(partition, &mut |item, event_type, _| {
        totals += u64::from(scope.takes(item, event_type));
        ControlFlow::Continue(())
    })?;
    let shares = (totals / TOTALS_AT_A_TIME + 1) as u32;
    let mut differ = Vec::new();
    for share in 0..shares {
        let is_mine = |item: &str, event_type: &str| {
            let hash = || model::route::murmur3_x86_32(item.as_bytes()) / 7;
            scope.takes(item, event_type) && (shares == 1 || hash() % shares == share)
        };
        let mut sums: HashMap<Names, (Summary, Summary)> = HashMap::new();
        // Those that are counted on meanwhile: nobody knows what they should be.
        let mut ahead: HashSet<Names> = HashSet::new();
        snapshot.scan_totals(partition, &mut |item, event_type, row| {
            if is_mine(item, event_type) {
                if is_ahead(&row, checkpoint) {
                    ahead.insert((item.into(), event_type.into()));
                }
                let names = (item.into(), event_type.into());
                sums.insert(names, (row.summary(), Summary::EMPTY));
            }
            ControlFlow::Continue(())
        })?;
        let mut add = |item: &str, event_type: &str, summary: &Summary| {
            // A name is looked for far more often than it is new.
            let names: Names = (item.into(), event_type.into());
            sums.entry(names).or_default().1.add(summary);
        };
        snapshot.scan_hours(partition, 0..u32::MAX, &mut |hour, event_type, item, row| {
            if is_mine(item, event_type) {
                if is_ahead(&row, checkpoint) {
                    ahead.insert((item.into(), event_type.into()));
                }
                let wrong = wrong.get(&(item, event_type));
                add(item, event_type, &as_it_should_be(hour, &row, wrong));
            }
        })?;
        // Cells that are stored wrongly and whose row is not there at all were not met above.
        for ((item, event_type), cells) in &wrong {
            if !is_mine(item, event_type) {
                continue;
            }
            for ((hour, _), cell) in cells {
                let key = model::RowKey::Hour { hour: *hour, event_type, item };
                if snapshot.get(partition, &[key])?.iter().flatten().next().is_none() {
                    add(item, event_type, &cell.is);
                }
            }
        }
        let is_different = |(names, (stored, sum)): &(Names, (Summary, Summary))| {
            stored != sum && !ahead.contains(names)
        };
        let differing = sums.into_iter().filter(is_different);
        differ.extend(differing.map(|((item, event_type), (was, is))| Found {
            partition,
            known_offset: checkpoint.next_offset,
            cell: Correction {
                place: None,
                event_type: event_type.into(),
                item: item.into(),
                was,
                is,
            },
        }));
    }
    Ok(differ)
}

/// The sum of an hour's cells, wrong ones replaced.
fn as_it_should_be(
    hour: Hour,
    row: &StoredRow,
    wrong: Option<&HashMap<Place, &Correction>>,
) -> Summary {
    let Some(wrong) = wrong else { return row.summary() };
    if let Some(whole) = wrong.get(&(hour, Cell::WHOLE)) {
        return whole.is;
    }
    let mut sum = Summary::EMPTY;
    for cell in &row.cells {
        let is = wrong.get(&(hour, cell.slot)).map_or(cell.summary, |wrong| wrong.is);
        sum.add(&is);
    }
    let has = |slot: u8| row.cells.iter().any(|cell| cell.slot == slot);
    for ((_, slot), missing) in wrong.iter().filter(|((of, slot), _)| *of == hour && !has(*slot)) {
        debug_assert!(*slot < Cell::WHOLE);
        sum.add(&missing.is);
    }
    sum
}
