//! The most counted items of a range: exact, by adding up every row of it.

use std::cmp::Reverse;
use std::collections::HashMap;

use model::{StoredRow, Summary, TimeRange};

use super::cover::{Cover, Pinned};
use super::{Quality, Query, QueryError};
use crate::ports::ColdCounters;
use crate::processor::Partition;

/// Items added up at a time. A range with more is gone through several times, each time with a
/// share of the items, so that memory stays bounded however long the tail is.
const ITEMS_AT_A_TIME: usize = 1 << 20;

/// The most counted items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// The range that was really covered.
    pub range: TimeRange,
    /// Most counted first; equal counts in item order.
    pub items: Vec<(String, u64)>,
    /// How good they are.
    pub quality: Quality,
}

/// The items of a partition's memory with their counts.
type Counts = Vec<(String, u64)>;

impl Query {
    /// The most counted items of a range. It reads every row of the range: call it off the threads
    /// that answer requests.
    pub fn top(&self, event_type: &str, range: TimeRange, limit: usize) -> Result<Top, QueryError> {
        self.ready()?;
        let partitions: Vec<&Partition> = self.processors.partitions.iter().map(|p| &**p).collect();
        let (cover, pinned) = self.pin_all(&partitions, range, |tables, range| {
            let mut items = Counts::new();
            for table in tables {
                table.for_each_item(event_type, range, |item, summary| {
                    items.push((item.to_owned(), summary.count));
                });
            }
            items
        })?;
        let Cover { range, quality, .. } = cover;
        let cold = self.cold_files(&cover)?;
        let mut shares = 1;
        loop {
            let ranked = (0..shares).try_fold(Vec::new(), |best, share| {
                match add_up(&pinned, cold, event_type, &cover, (share, shares)) {
                    Ok(Some(counts)) => Ok(rank(best, counts, limit)),
                    Ok(None) => Err(None),
                    Err(error) => Err(Some(error)),
                }
            });
            match ranked {
                Ok(items) => return Ok(Top { range, items, quality }),
                Err(Some(error)) => return Err(error),
                Err(None) => shares *= 4,
            }
        }
    }
}

/// The counts of a share of the items; none when they are too many to add up at a time.
fn add_up(
    pinned: &[Pinned<'_, Counts>],
    cold: Option<&dyn ColdCounters>,
    event_type: &str,
    cover: &Cover,
    (share, shares): (u32, u32),
) -> Result<Option<HashMap<String, u64>>, QueryError> {
    let is_mine = |item: &str| {
        shares == 1 || model::route::murmur3_x86_32(item.as_bytes()) / 7 % shares == share
    };
    let mut counts: HashMap<String, u64> = HashMap::new();
    let add = |counts: &mut HashMap<String, u64>, item: &str, count: u64| {
        if count == 0 || !is_mine(item) || counts.len() > ITEMS_AT_A_TIME {
            return;
        }
        match counts.get_mut(item) {
            Some(total) => *total += count,
            None => {
                counts.insert(item.to_owned(), count);
            }
        }
    };
    for Pinned { partition, snapshot, memory } in pinned {
        memory.iter().for_each(|(item, count)| add(&mut counts, item, *count));
        for hour in snapshot.hours(partition.id, cover.hours())? {
            let mut of_row = |item: &str, row: StoredRow| {
                let mut count = 0;
                cover.for_each_cell(hour, &row, &mut |_, summary| count += summary.count);
                add(&mut counts, item, count);
            };
            snapshot.scan_hour(partition.id, hour, event_type, &mut of_row)?;
            if counts.len() > ITEMS_AT_A_TIME {
                return Ok(None);
            }
        }
        for day in snapshot.days(partition.id, cover.days())? {
            let mut of_row = |item: &str, row: StoredRow| {
                add(&mut counts, item, row.summary().count);
            };
            snapshot.scan_day(partition.id, day, event_type, &mut of_row)?;
            if counts.len() > ITEMS_AT_A_TIME {
                return Ok(None);
            }
        }
    }
    if let Some(cold) = cold {
        let mut of_day = |item: &str, summary: &Summary| add(&mut counts, item, summary.count);
        cold.scan_type(event_type, cover.cold_days(), &mut of_day)?;
    }
    Ok((counts.len() <= ITEMS_AT_A_TIME).then_some(counts))
}

/// The best of those known to be best and of new ones.
fn rank(
    mut best: Vec<(String, u64)>,
    counts: HashMap<String, u64>,
    limit: usize,
) -> Vec<(String, u64)> {
    best.extend(counts);
    let by_rank =
        |a: &(String, u64), b: &(String, u64)| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0));
    if best.len() > limit && limit > 0 {
        best.select_nth_unstable_by(limit - 1, by_rank);
        best.truncate(limit);
    }
    best.sort_unstable_by(by_rank);
    best.truncate(limit);
    best
}
