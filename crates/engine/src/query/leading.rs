//! The most counted items of a few hours, found among those that lead in any of them.
//!
//! Candidates are counted exactly, of everybody else only a bound is known: what the lists of the hours leave out, and
//! the most that memory has. Where the last candidate that is given has more than that, nobody else belongs between them.
//! Where it has not, more candidates are tried, and at last all rows are added up.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use model::counter::RowKey;
use model::{Hour, Offset, Slot, TimeRange};

use super::ahead::RowOf;
use super::cover::{Cover, Pinned};
use super::top::{Top, by_rank, keep_best};
use super::{Query, QueryError};
use crate::processor::{Begun, LEADERS, Leaders, Partition};

/// Hours that a range touches, at most: each has a bound of its own, and together they prove little.
const HOURS_MAX: usize = 4;
/// Candidates that are tried first, at least, and for each item that is asked for.
const CANDIDATES_MIN: usize = 64;
const CANDIDATES_AN_ITEM: usize = 4;

/// What memory has of candidates, and of everybody else.
struct Seen {
    /// Which candidate, from which offset on, when, and how many.
    candidates: Vec<(usize, Offset, Slot, u64)>,
    /// The most that anybody else has.
    others: u64,
}

impl Query {
    /// As [`Self::top`], of a range of a few hours; none where that cannot be told without all rows.
    pub fn top_of_leaders(
        &self,
        event_type: &str,
        range: TimeRange,
        limit: usize,
    ) -> Result<Option<Top>, QueryError> {
        let hours = range.hours();
        let partitions: Vec<&Partition> = self.processors.partitions.iter().map(|p| &**p).collect();
        let leaders: Option<Vec<&Leaders>> = partitions.iter().map(|p| p.leaders()).collect();
        let Some(leaders) = leaders else { return Ok(None) };
        let led: Vec<_> = partitions.into_iter().zip(leaders).collect();
        let mut wanted = CANDIDATES_MIN.max(limit.saturating_mul(CANDIDATES_AN_ITEM));
        let is_short = limit > 0 && wanted <= LEADERS && hours.len() <= HOURS_MAX;
        if self.reads_afar || !is_short {
            return Ok(None);
        }
        if !self.learn(&led, event_type, hours.clone())? {
            return Ok(None);
        }
        let mut of_memory = false;
        while wanted <= LEADERS {
            let candidates = candidates(&led, event_type, hours.clone(), wanted, of_memory);
            if let Some(top) = self.prove(&led, event_type, range, limit, &candidates)? {
                return Ok(Some(top));
            }
            wanted *= 4;
            of_memory = true;
        }
        Ok(None)
    }

    /// Reads the rows of hours whose lists lack them, once; whether all lists are whole now.
    fn learn(
        &self,
        led: &[(&Partition, &Leaders)],
        event_type: &str,
        hours: Range<u32>,
    ) -> Result<bool, QueryError> {
        let snapshot = self.store.snapshot()?;
        for (partition, leaders) in led {
            for hour in snapshot.hours(partition.id, hours.clone())? {
                match leaders.begin(hour, event_type) {
                    Begun::Refused => return Ok(false),
                    Begun::Whole => {}
                    Begun::Lacking(number) => {
                        let mut note =
                            |item: &str, row| leaders.note_row(hour, event_type, item, &row);
                        // What was written until the list was begun.
                        let snapshot = self.store.snapshot()?;
                        snapshot.scan_hour(partition.id, hour, event_type, &mut note)?;
                        leaders.is_whole_now(number);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Counts candidates exactly; the best of them, where nobody else can have as many.
    fn prove(
        &self,
        led: &[(&Partition, &Leaders)],
        event_type: &str,
        range: TimeRange,
        limit: usize,
        candidates: &[String],
    ) -> Result<Option<Top>, QueryError> {
        let is_candidate: HashSet<&str> = candidates.iter().map(String::as_str).collect();
        let is_candidate = |item: &str| is_candidate.contains(item);
        let partitions: Vec<&Partition> = led.iter().map(|(partition, _)| *partition).collect();
        let (cover, pinned) = self.pin_all(&partitions, range, |tables, range| {
            let mut seen = Seen { candidates: Vec::new(), others: 0 };
            for table in tables {
                for (at, item) in candidates.iter().enumerate() {
                    table.for_each_slot(item, event_type, range, |slot, summary| {
                        seen.candidates.push((at, table.from(), slot, summary.count));
                    });
                }
                seen.others += table.most(event_type, is_candidate);
            }
            seen
        })?;
        let has_days = !cover.days().is_empty() || !cover.cold_days().is_empty();
        if has_days || cover.hours().len() > HOURS_MAX {
            return Ok(None);
        }
        let mut bounds = Vec::with_capacity(pinned.len());
        for ((_, leaders), pinned) in led.iter().zip(&pinned) {
            let mut bound = pinned.memory.others;
            for hour in pinned.snapshot.hours(pinned.partition.id, cover.hours())? {
                // All rows of the snapshot were noted before it was pinned.
                match leaders.bound(hour, event_type, is_candidate) {
                    Some(of_hour) => bound += of_hour,
                    None => return Ok(None),
                }
            }
            bounds.push(bound);
        }
        // With one version of routing each item is in one partition.
        let bound: u64 = match self.routing.table()?.version() {
            1 => bounds.into_iter().max().unwrap_or(0),
            _ => bounds.into_iter().sum(),
        };
        let counts = self.count_candidates(&cover, &pinned, event_type, candidates)?;
        let mut items: Vec<(String, u64)> =
            candidates.iter().cloned().zip(counts).filter(|(_, count)| *count > 0).collect();
        keep_best(&mut items, limit, &by_rank);
        let least = items.get(limit - 1).map_or(0, |(_, count)| *count);
        let is_proven = bound == 0 || least > bound;
        let Cover { range, quality, .. } = cover;
        Ok(is_proven.then_some(Top { range, items, quality }))
    }

    /// What each candidate has in a range.
    fn count_candidates(
        &self,
        cover: &Cover,
        pinned: &[Pinned<'_, Seen>],
        event_type: &str,
        candidates: &[String],
    ) -> Result<Vec<u64>, QueryError> {
        let mut counts = vec![0; candidates.len()];
        let items: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let placed = self.by_partition(&items)?;
        for pinned in pinned {
            let Pinned { partition, snapshot, memory, .. } = pinned;
            let mine = placed.iter().find(|(other, _)| other.id == partition.id);
            let mine = mine.map_or(&[][..], |(_, places)| places);
            let mut ahead = pinned.ahead();
            for hour in snapshot.hours(partition.id, cover.hours())? {
                let key = |at: &usize| RowKey::Hour { hour, event_type, item: items[*at] };
                let keys: Vec<_> = mine.iter().map(key).collect();
                for (at, row) in mine.iter().zip(snapshot.get(partition.id, &keys)?) {
                    let Some(row) = row else { continue };
                    ahead.note(&row, || (*at, RowOf::Hour(hour)));
                    cover.for_each_cell(hour, &row, &mut |_, summary| counts[*at] += summary.count);
                }
            }
            for (at, from, slot, count) in &memory.candidates {
                if ahead.lacks(*from, || (*at, RowOf::from(*slot))) {
                    counts[*at] += count;
                }
            }
        }
        Ok(counts)
    }
}

/// Items that may have the most events: by what the lists have of them, and where that is wanted the largest of memory.
fn candidates(
    led: &[(&Partition, &Leaders)],
    event_type: &str,
    hours: Range<u32>,
    wanted: usize,
    of_memory: bool,
) -> Vec<String> {
    let mut found = HashSet::new();
    if of_memory {
        for (partition, _) in led {
            partition.memory.look(|tables| {
                let tables =
                    tables.frozen.iter().map(|frozen| &frozen.table).chain([&tables.active]);
                tables.for_each(|table| {
                    found.extend(table.largest(event_type, wanted).into_iter().map(str::to_owned));
                });
            });
        }
    }
    let mut by_rows: HashMap<String, u64> = HashMap::new();
    for (_, leaders) in led {
        for hour in hours.clone().map(Hour) {
            for (item, count) in leaders.first(hour, event_type, wanted) {
                *by_rows.entry(item).or_default() += count;
            }
        }
    }
    let mut by_rows: Vec<(String, u64)> = by_rows.into_iter().collect();
    keep_best(&mut by_rows, wanted, &by_rank);
    found.extend(by_rows.into_iter().map(|(item, _)| item));
    found.into_iter().collect()
}
