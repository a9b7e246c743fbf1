//! What questions must say of what was accepted.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use model::{Granularity, TimeRange, TimestampMs};

use super::broker::BEGIN_MS;
use super::event::item_name;
use super::spool::Spool;
use super::{EVENT_TYPE, Fleet};

/// Items that are asked for one by one, where there are many: a rule for all of them may have spread
/// each over all partitions.
const SAMPLE: u64 = 40;

/// Events by item.
type Counts = BTreeMap<String, u64>;

fn of(counts: &Counts, item: &str) -> u64 {
    counts.get(item).copied().unwrap_or(0)
}

impl Fleet {
    /// What counts surely, and what may count beside it.
    fn expected(&self) -> (Counts, Counts) {
        let (mut surely, mut perhaps) = (Counts::new(), Counts::new());
        for sent in self.sent.iter().filter(|sent| sent.first.is_some()) {
            *surely.entry(sent.said.item.clone()).or_default() += 1;
        }
        for spooled in self.spools.iter().flat_map(Spool::events) {
            *surely.entry(spooled.said.item.clone()).or_default() += spooled.surely();
            *perhaps.entry(spooled.said.item.clone()).or_default() += spooled.perhaps();
        }
        surely.retain(|_, count| *count > 0);
        perhaps.retain(|_, count| *count > 0);
        (surely, perhaps)
    }

    /// All items where there are few, and some of many.
    fn some_items(&mut self) -> Vec<String> {
        let items = self.shape.items();
        match items <= SAMPLE {
            true => (0..items).map(item_name).collect(),
            false => (0..SAMPLE).map(|_| item_name(self.chance.below(items))).collect(),
        }
    }

    fn totals(&self, items: &[String]) -> Result<Vec<u64>> {
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let (totals, _) = self.counters.query().totals(&items, EVENT_TYPE)?;
        Ok(totals.iter().map(|total| total.count).collect())
    }

    /// Somebody asks while everything is under way: never more than was accepted, and never less than
    /// was told before.
    pub(super) fn ask_early(&mut self) -> Result<()> {
        let (surely, perhaps) = self.expected();
        let items = self.some_items();
        for (item, count) in items.iter().zip(self.totals(&items)?) {
            let (told, most) = (of(&self.told, item), of(&surely, item) + of(&perhaps, item));
            let is_right = (told..=most).contains(&count);
            ensure!(is_right, "{item} was told as {count}, after {told}, and is {most} at most");
            self.told.insert(item.clone(), count);
        }
        Ok(())
    }

    /// Everything that was accepted is counted once, in totals, series and rankings. Says how many
    /// records of the log repeat others.
    pub(super) fn ask(&mut self) -> Result<u64> {
        self.counters.catch_up()?;
        let (surely, perhaps) = self.expected();
        let range = self.whole_range();
        let limit = self.shape.items() as usize;
        let top = self.counters.query().top(EVENT_TYPE, range, limit)?;
        let top: Counts = top.items.into_iter().collect();
        let known = |counts: &Counts| -> Vec<(String, u64)> {
            let known = counts.iter().filter(|(item, _)| !perhaps.contains_key(*item));
            known.map(|(item, count)| (item.clone(), *count)).collect()
        };
        let (told, right) = (known(&top), known(&surely));
        ensure!(told == right, "the ranking is {told:?}, and should be {right:?}");
        let items = self.some_items();
        for (item, total) in items.iter().zip(self.totals(&items)?) {
            let query = self.counters.query();
            let single = query.count(item, EVENT_TYPE, None)?.summary.count;
            let series = query.series(item, EVENT_TYPE, range, Granularity::Hour)?;
            let told = [total, series.total.count, of(&top, item)];
            ensure!(told == [single; 3], "{item} was told as {single} and as {told:?}");
            let of_item = of(&surely, item);
            let most = of_item + of(&perhaps, item);
            let is_right = (of_item..=most).contains(&single) && single >= of(&self.told, item);
            ensure!(is_right, "{item} was told as {single}, and is {of_item} to {most}");
            self.told.insert(item.clone(), single);
            self.note(single);
        }
        let (in_log, counted) = (self.broker.events(), top.values().sum::<u64>());
        ensure!(counted <= in_log, "{counted} are counted of {in_log}");
        Ok(in_log - counted)
    }

    fn whole_range(&self) -> TimeRange {
        let start = TimestampMs(BEGIN_MS - 86_400_000).minute();
        TimeRange { start, end: TimestampMs(self.broker.now().0 + 86_400_000).minute() }
    }
}
