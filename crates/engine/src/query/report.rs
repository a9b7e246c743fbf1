//! Many items added up at one moment: what they have of all types and, of one type, by the hour.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::aggregate::MemoryTable;
use model::counter::RowKey;
use model::{Hour, Minute, Offset, Slot, StoredRow, Summary, TimeRange, TimestampMs};

use super::ahead::{Ahead, RowOf};
use super::cover::{Cover, Pinned};
use super::{Quality, Query, QueryError};
use crate::ports::{CounterSnapshot, PortError};
use crate::processor::Partition;

/// Rows asked for at a time, so that memory stays bounded.
const ROWS_AT_A_TIME: usize = 512;
/// A report over more rows than this is read by several threads.
const ROWS_ALONE_MAX: usize = 1_024;
/// Most threads of one report: several reports run side by side, and counting goes on.
const THREADS_MAX: usize = 4;

/// What some items have, all added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The hours that were really covered: none of which hours are no longer kept.
    pub range: TimeRange,
    /// Of all time by event type, most counted first; equal counts in the order of types.
    pub totals: Vec<(String, Summary)>,
    /// Of the one type in the range.
    pub total: Summary,
    /// The start of each hour of the range and its numbers, of the one type.
    pub series: Vec<(TimestampMs, Summary)>,
    /// How many events of the one type each item has in the range, in the order asked.
    pub by_item: Vec<u64>,
    /// How good the numbers are.
    pub quality: Quality,
}

/// What a partition's memory holds of the items.
#[derive(Default)]
struct InMemory {
    /// Of a type, an item and the table that begins at an offset.
    totals: BTreeMap<(String, usize, Offset), Summary>,
    /// Of the one type: which item, which table, when, how much.
    slots: Vec<(usize, Offset, Slot, Summary)>,
}

/// The rows of a partition that are ahead, by item and type.
type AheadRows = Ahead<(usize, String, RowOf)>;

impl Query {
    /// Adds up items, none of them twice. The range is in whole hours.
    pub fn report(
        &self,
        items: &[&str],
        event_type: &str,
        range: TimeRange,
    ) -> Result<Report, QueryError> {
        self.ready()?;
        let at: HashMap<&str, usize> = items.iter().copied().zip(0..).collect();
        let of_partition = |(partition, places): (_, Vec<usize>)| {
            let mut mine: Vec<&str> = places.into_iter().map(|at| items[at]).collect();
            mine.sort_unstable();
            (partition, mine)
        };
        let all = self.by_partition(items)?.into_iter().map(of_partition);
        let (partitions, mine): (Vec<&Partition>, Vec<Vec<&str>>) = all.unzip();
        let look = |tables: &[&MemoryTable], range: TimeRange| {
            let mut found = InMemory::default();
            for table in tables {
                table.for_each_of(
                    |item| at.get(item).copied(),
                    |item, its_type, slot, summary| {
                        found.add_total(item, its_type, table.from(), summary);
                        if its_type == event_type && range.contains(slot.start()) {
                            found.slots.push((item, table.from(), slot, *summary));
                        }
                    },
                );
            }
            found
        };
        let (cover, pinned) = self.pin_all(&partitions, range, look)?;
        // What lies below is kept by the day, and belongs to no hour.
        let kept_from = cover.horizons.hour().minute().max(cover.range.start);
        let range = TimeRange { start: kept_from.min(cover.range.end), ..cover.range };
        let cover = Cover { range, ..cover };
        let ahead = pinned.iter().map(Pinned::ahead).collect();
        let mut sums = Sums::new(range, items.len(), ahead);
        let stored: Vec<_> = pinned.iter().map(|p| (p.partition, &*p.snapshot)).collect();
        let reading = Reading { at: &at, event_type, cover: &cover };
        reading.add_stored(&stored, &mine, &mut sums)?;
        for (at, Pinned { memory, .. }) in pinned.iter().enumerate() {
            sums.add_memory(&cover, at, memory, event_type);
        }
        Ok(sums.into_report(&cover))
    }
}

impl InMemory {
    fn add_total(&mut self, item: usize, event_type: &str, from: Offset, summary: &Summary) {
        let of_table = self.totals.entry((event_type.to_owned(), item, from));
        of_table.or_default().add(summary);
    }
}

/// What is added up so far.
struct Sums {
    totals: BTreeMap<String, Summary>,
    first_hour: u32,
    hours: Vec<Summary>,
    by_item: Vec<u64>,
    /// Of each partition that was pinned.
    ahead: Vec<AheadRows>,
}

impl Sums {
    fn new(range: TimeRange, items: usize, ahead: Vec<AheadRows>) -> Self {
        let hours = range.hours();
        Self {
            totals: BTreeMap::new(),
            first_hour: hours.start,
            hours: vec![Summary::EMPTY; hours.len()],
            by_item: vec![0; items],
            ahead,
        }
    }

    /// Adds what the rows of a partition lack, once all of them are read.
    fn add_memory(&mut self, cover: &Cover, at: usize, memory: &InMemory, event_type: &str) {
        for ((its_type, item, from), sum) in &memory.totals {
            if self.ahead[at].lacks(*from, || (*item, its_type.clone(), RowOf::All)) {
                self.add_total(its_type, sum);
            }
        }
        for (item, from, slot, summary) in &memory.slots {
            if self.ahead[at].lacks(*from, || (*item, event_type.to_owned(), RowOf::from(*slot))) {
                self.add(cover, *item, slot.start(), summary);
            }
        }
    }

    fn add_total(&mut self, event_type: &str, summary: &Summary) {
        match self.totals.get_mut(event_type) {
            Some(total) => total.add(summary),
            None => drop(self.totals.insert(event_type.to_owned(), *summary)),
        }
    }

    fn add(&mut self, cover: &Cover, item: usize, minute: Minute, summary: &Summary) {
        if cover.range.contains(minute) {
            self.hours[(minute.hour().0 - self.first_hour) as usize].add(summary);
            self.by_item[item] += summary.count;
        }
    }

    fn merge(&mut self, other: Self) {
        other.totals.iter().for_each(|(event_type, sum)| self.add_total(event_type, sum));
        self.hours.iter_mut().zip(&other.hours).for_each(|(own, more)| own.add(more));
        self.by_item.iter_mut().zip(&other.by_item).for_each(|(own, more)| *own += more);
        self.ahead.iter_mut().zip(other.ahead).for_each(|(own, more)| own.merge(more));
    }

    fn into_report(self, cover: &Cover) -> Report {
        let mut totals: Vec<_> = self.totals.into_iter().filter(|(_, sum)| sum.count > 0).collect();
        // A stable sort: equal counts stay in the order of types.
        totals.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.count));
        let hours = (self.first_hour..).map(|hour| Hour(hour).start());
        Report {
            range: cover.range,
            totals,
            total: self.hours.iter().sum(),
            series: hours.zip(self.hours).collect(),
            by_item: self.by_item,
            quality: cover.quality,
        }
    }
}

/// A partition's store at the moment, and some of its items in their order.
#[derive(Clone, Copy)]
struct Share<'a> {
    /// Its place among those that were pinned.
    at: usize,
    partition: &'a Partition,
    snapshot: &'a dyn CounterSnapshot,
    items: &'a [&'a str],
}

/// An item with an hour row at most as new as this, which may have none.
type Counted<'a> = (&'a str, Hour);

/// How stored rows are read.
struct Reading<'a> {
    at: &'a HashMap<&'a str, usize>,
    event_type: &'a str,
    cover: &'a Cover,
}

impl<'a> Reading<'a> {
    /// Adds totals first: they say which items can have rows in which hours.
    fn add_stored(
        &self,
        stored: &[(&'a Partition, &'a dyn CounterSnapshot)],
        mine: &'a [Vec<&'a str>],
        sums: &mut Sums,
    ) -> Result<(), PortError> {
        let with_items = stored.iter().zip(mine).enumerate();
        let shares = with_items.flat_map(|(at, (&(partition, snapshot), items))| {
            let chunks = items.chunks(ROWS_AT_A_TIME);
            chunks.map(move |items| Share { at, partition, snapshot, items })
        });
        let shares: Vec<Share<'_>> = shares.collect();
        let counted = self.each(&shares, ROWS_AT_A_TIME, sums, |share, sums| {
            self.add_totals(share, sums).map(|counted| (*share, counted))
        })?;
        let mut hours = Vec::new();
        for (share, counted) in &counted {
            let oldest = self.cover.hours();
            for hour in share.snapshot.hours(share.partition.id, oldest)? {
                if counted.iter().any(|(_, newest)| hour <= *newest) {
                    hours.push((share, counted, hour));
                }
            }
        }
        self.each(&hours, ROWS_AT_A_TIME, sums, |(share, counted, hour), sums| {
            self.add_hour(share, counted, *hour, sums)
        })?;
        Ok(())
    }

    /// Adds the totals of items; gives those that have hour rows of the one type.
    fn add_totals<'s>(
        &self,
        share: &Share<'s>,
        sums: &mut Sums,
    ) -> Result<Vec<Counted<'s>>, PortError> {
        let mut counted = Vec::new();
        for item in share.items {
            let mut of_type = |event_type: &str, row: StoredRow| {
                let key = || (self.at[item], event_type.to_owned(), RowOf::All);
                sums.ahead[share.at].note(&row, key);
                sums.add_total(event_type, &row.summary());
                if let Some(newest) = row.newest_hour
                    && event_type == self.event_type
                {
                    counted.push((*item, newest));
                }
            };
            share.snapshot.scan_item_totals(share.partition.id, item, &mut of_type)?;
        }
        Ok(counted)
    }

    fn add_hour(
        &self,
        share: &Share<'_>,
        counted: &[Counted<'_>],
        hour: Hour,
        sums: &mut Sums,
    ) -> Result<(), PortError> {
        let event_type = self.event_type;
        let items = counted.iter().filter(|(_, newest)| hour <= *newest).map(|(item, _)| *item);
        let items: Vec<&str> = items.collect();
        let keys: Vec<_> =
            items.iter().map(|item| RowKey::Hour { hour, event_type, item }).collect();
        for (item, row) in items.iter().zip(share.snapshot.get(share.partition.id, &keys)?) {
            let Some(row) = row else { continue };
            let item = self.at[item];
            let key = || (item, event_type.to_owned(), RowOf::Hour(hour));
            sums.ahead[share.at].note(&row, key);
            self.cover.for_each_cell(hour, &row, &mut |minute, summary| {
                sums.add(self.cover, item, minute, summary);
            });
        }
        Ok(())
    }

    /// Works on tasks of at most so many rows each, by several threads where they are many; what the
    /// tasks gave, in their order.
    fn each<T: Sync, R: Send>(
        &self,
        tasks: &[T],
        rows_each: usize,
        sums: &mut Sums,
        work: impl Fn(&T, &mut Sums) -> Result<R, PortError> + Sync,
    ) -> Result<Vec<R>, PortError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.min(THREADS_MAX).min(tasks.len());
        if threads < 2 || tasks.len() * rows_each.min(self.at.len()) <= ROWS_ALONE_MAX {
            return tasks.iter().map(|task| work(task, sums)).collect();
        }
        let next = AtomicUsize::new(0);
        let (range, items) = (self.cover.range, self.at.len());
        let checkpoints: Vec<AheadRows> = sums.ahead.iter().map(Ahead::fresh).collect();
        let run = || {
            let fresh = checkpoints.iter().map(Ahead::fresh).collect();
            let (mut own, mut done) = (Sums::new(range, items, fresh), Vec::new());
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(at) else { return Ok((own, done)) };
                done.push((at, work(task, &mut own)?));
            }
        };
        let parts: Vec<Result<_, PortError>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            let own = run();
            let joined = others.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            std::iter::once(own).chain(joined).collect()
        });
        let mut done = Vec::with_capacity(tasks.len());
        for part in parts {
            let (own, of_part) = part?;
            sums.merge(own);
            done.extend(of_part);
        }
        done.sort_unstable_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }
}
