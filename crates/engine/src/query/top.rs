//! The most counted items of a range: exact, by those that lead in its hours, or by adding up every row of it.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use model::{Minute, Offset, Slot, StoredRow, Summary, TimeRange};

use super::ahead::RowOf;
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

/// The items of a partition's memory: from which offset on, when, and how many.
pub(super) type Counts = Vec<(String, Offset, Slot, u64)>;

/// How many events an item has before a minute, and from it on.
pub(super) type Split = [u64; 2];

impl Query {
    /// The most counted items of a range. It may read every row of the range: call it off the threads
    /// that answer requests.
    pub fn top(&self, event_type: &str, range: TimeRange, limit: usize) -> Result<Top, QueryError> {
        self.ready()?;
        match self.top_of_leaders(event_type, range, limit)? {
            Some(top) => Ok(top),
            None => self.top_of_all(event_type, range, limit),
        }
    }

    /// As [`Self::top`], by all rows and all of memory: what it is checked with.
    pub fn top_of_all(
        &self,
        event_type: &str,
        range: TimeRange,
        limit: usize,
    ) -> Result<Top, QueryError> {
        let (cover, pinned) = self.pin_type(event_type, range)?;
        let Cover { range, quality, .. } = cover;
        let asked = Ranking { event_type, cover: &cover, split: range.start, limit };
        let items = self.rank(&asked, &pinned, |item, [_, count]| Some((item, count)), by_rank)?;
        Ok(Top { range, items, quality })
    }

    /// Pins all partitions with what their memory holds of a type in a range.
    pub(super) fn pin_type(
        &self,
        event_type: &str,
        range: TimeRange,
    ) -> Result<(Cover, Vec<Pinned<'_, Counts>>), QueryError> {
        let partitions: Vec<&Partition> = self.processors.partitions.iter().map(|p| &**p).collect();
        self.pin_all(&partitions, range, |tables, range| {
            let mut items = Counts::new();
            for table in tables {
                table.for_each_item_slot(event_type, range, |item, slot, summary| {
                    items.push((item.to_owned(), table.from(), slot, summary.count));
                });
            }
            items
        })
    }

    /// The best of all items that have an event in the range, as `rate` rates them: it makes of an
    /// item and its counts what is ranked, or leaves it out.
    pub(super) fn rank<T>(
        &self,
        asked: &Ranking<'_>,
        pinned: &[Pinned<'_, Counts>],
        rate: impl Fn(String, Split) -> Option<T>,
        by_rank: impl Fn(&T, &T) -> Ordering,
    ) -> Result<Vec<T>, QueryError> {
        let cold = self.cold_files(asked.cover)?;
        let in_shares = |shares: u32| -> Result<Option<Vec<T>>, QueryError> {
            let mut best = Vec::new();
            for share in 0..shares {
                let Some(counts) = asked.add_up(pinned, cold, (share, shares))? else {
                    return Ok(None);
                };
                best.extend(counts.into_iter().filter_map(|(item, split)| rate(item, split)));
                keep_best(&mut best, asked.limit, &by_rank);
            }
            Ok(Some(best))
        };
        let mut shares = 1;
        loop {
            match in_shares(shares)? {
                Some(best) => return Ok(best),
                None => shares *= 4,
            }
        }
    }
}

/// What is ranked.
pub(super) struct Ranking<'a> {
    pub(super) event_type: &'a str,
    pub(super) cover: &'a Cover,
    /// Where the second count of a [`Split`] begins.
    pub(super) split: Minute,
    pub(super) limit: usize,
}

impl Ranking<'_> {
    /// The counts of a share of the items; none when they are too many to add up at a time.
    fn add_up(
        &self,
        pinned: &[Pinned<'_, Counts>],
        cold: Option<&dyn ColdCounters>,
        (share, shares): (u32, u32),
    ) -> Result<Option<HashMap<String, Split>>, QueryError> {
        let Self { event_type, cover, split, .. } = *self;
        let is_mine = |item: &str| {
            shares == 1 || model::route::murmur3_x86_32(item.as_bytes()) / 7 % shares == share
        };
        let mut counts: HashMap<String, Split> = HashMap::new();
        let add = |counts: &mut HashMap<String, Split>, item: &str, added: Split| {
            if added == [0, 0] || !is_mine(item) || counts.len() > ITEMS_AT_A_TIME {
                return;
            }
            match counts.get_mut(item) {
                Some(total) => total.iter_mut().zip(added).for_each(|(own, more)| *own += more),
                None => drop(counts.insert(item.to_owned(), added)),
            }
        };
        let placed = |minute: Minute, count: u64| match minute < split {
            true => [count, 0],
            false => [0, count],
        };
        for pinned in pinned {
            let Pinned { partition, snapshot, memory, .. } = pinned;
            let mut ahead = pinned.ahead();
            for hour in snapshot.hours(partition.id, cover.hours())? {
                let mut of_row = |item: &str, row: StoredRow| {
                    ahead.note(&row, || (item.to_owned(), RowOf::Hour(hour)));
                    let mut of_hour = [0, 0];
                    cover.for_each_cell(hour, &row, &mut |minute, summary| {
                        of_hour[usize::from(minute >= split)] += summary.count;
                    });
                    add(&mut counts, item, of_hour);
                };
                snapshot.scan_hour(partition.id, hour, event_type, &mut of_row)?;
                if counts.len() > ITEMS_AT_A_TIME {
                    return Ok(None);
                }
            }
            for day in snapshot.days(partition.id, cover.days())? {
                let mut of_row = |item: &str, row: StoredRow| {
                    ahead.note(&row, || (item.to_owned(), RowOf::Day(day)));
                    add(&mut counts, item, placed(day.minute(), row.summary().count));
                };
                snapshot.scan_day(partition.id, day, event_type, &mut of_row)?;
                if counts.len() > ITEMS_AT_A_TIME {
                    return Ok(None);
                }
            }
            for (item, from, slot, count) in memory {
                if ahead.lacks(*from, || (item.clone(), RowOf::from(*slot))) {
                    add(&mut counts, item, placed(slot.start(), *count));
                }
            }
        }
        if let Some(cold) = cold {
            let cold_days = cover.cold_days();
            // Cold files do not say which day in a range a row is of: it is asked for in two.
            let first_after = split.0.div_ceil(24 * 60).clamp(cold_days.start, cold_days.end);
            for (at, days) in [cold_days.start..first_after, first_after..cold_days.end]
                .into_iter()
                .enumerate()
                .filter(|(_, days)| !days.is_empty())
            {
                let mut of_day = |item: &str, summary: &Summary| {
                    let mut added = [0, 0];
                    added[at] = summary.count;
                    add(&mut counts, item, added);
                };
                cold.scan_type(event_type, days, &mut of_day)?;
            }
        }
        Ok((counts.len() <= ITEMS_AT_A_TIME).then_some(counts))
    }
}

/// Most counted first; equal counts in item order.
pub(super) fn by_rank(a: &(String, u64), b: &(String, u64)) -> Ordering {
    (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0))
}

/// Leaves the best, in their order.
pub(super) fn keep_best<T>(best: &mut Vec<T>, limit: usize, by_rank: &impl Fn(&T, &T) -> Ordering) {
    if best.len() > limit && limit > 0 {
        best.select_nth_unstable_by(limit - 1, by_rank);
        best.truncate(limit);
    }
    best.sort_unstable_by(by_rank);
    best.truncate(limit);
}
