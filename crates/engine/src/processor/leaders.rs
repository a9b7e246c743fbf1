//! The most counted items of the newest hours, so that a ranking of a million items need not read a million rows.
//!
//! A list of an hour and type holds items with what their rows had when they were written, and a bound: **no item that
//! is not in it has more in any row**, be it committed or just being written. Rows are noted before they are committed,
//! so who pins a snapshot first and asks for the bound afterwards can rely on it. Counts in rows only grow; after a
//! correction that takes away, a list says too much, never too little.

use std::collections::{BTreeSet, HashMap};

use model::counter::RowKey;
use model::{Hour, StoredRow};
use parking_lot::Mutex;

use crate::ports::CounterRow;

/// Items that are kept in a list, at least.
pub(crate) const LEADERS: usize = 512;
/// Lists that are kept when rows of another hour or type are written; those of the oldest hours go.
const LISTS_MAX: usize = 16;
/// Lists that there may be in between, since some are begun by questions.
const ASKED_MAX: usize = 2 * LISTS_MAX;

/// The lists of one partition, for as long as nobody else writes its rows.
#[derive(Default)]
pub struct Leaders {
    lists: Mutex<Lists>,
}

struct Lists {
    all: Vec<List>,
    /// That of the row before: rows are written by hour and type.
    last: usize,
    /// Lists that were begun so far.
    begun: u64,
    /// Whether there is a list for every row of the flush that is under way, if one is: a list that is begun in the
    /// middle of a flush would lack its rows.
    is_all_noted: bool,
}

impl Default for Lists {
    fn default() -> Self {
        Self { all: Vec::new(), last: 0, begun: 0, is_all_noted: true }
    }
}

struct List {
    hour: Hour,
    event_type: Box<str>,
    /// Which of all lists that were begun: there may have been another of the same hour and type before.
    number: u64,
    /// Whether all rows that there are were noted; else only those since it was begun.
    is_whole: bool,
    items: HashMap<Box<str>, u64>,
    /// The most that was left out.
    bound: u64,
}

/// What a list knows that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// All rows.
    Whole,
    /// Not the rows that are there already. Who notes those by a snapshot that is taken from now on says
    /// [`Leaders::is_whole_now`] of this number then.
    Lacking(u64),
    /// There is none, and no room for it.
    Refused,
}

impl Leaders {
    /// Says that rows of these hours and types are going to be written, and these that are corrected: from here on
    /// they are noted. `had_rows` gives the hours that may have rows by now; it is asked only where that is needed.
    pub(super) fn begin_flush<E>(
        &self,
        counted: &[(Hour, &str)],
        corrected: &[CounterRow<'_>],
        had_rows: impl FnOnce() -> Result<Vec<Hour>, E>,
    ) -> Result<(), E> {
        let written = written(counted, corrected);
        let is_new = |lists: &mut Lists, (hour, event_type): (Hour, &str)| {
            lists.find(hour, event_type).is_none()
        };
        {
            let mut lists = self.lists.lock();
            if !written.iter().any(|key| is_new(&mut lists, *key)) {
                lists.is_all_noted = true;
                return Ok(());
            }
        }
        let had_rows = had_rows()?;
        let mut lists = self.lists.lock();
        // Types are what clients call them: there may be a hundred thousand.
        for key @ (hour, event_type) in written.iter().rev().take(LISTS_MAX) {
            // A question may have begun it meanwhile.
            if is_new(&mut lists, *key) {
                lists.begin(*hour, event_type, !had_rows.contains(hour));
            }
        }
        lists.all.sort_by(|a, b| (b.hour, &a.event_type).cmp(&(a.hour, &b.event_type)));
        lists.all.truncate(LISTS_MAX);
        lists.is_all_noted = !written.iter().any(|key| is_new(&mut lists, *key));
        Ok(())
    }

    /// Notes a row that is about to be written.
    pub(super) fn note(&self, row: &CounterRow<'_>) {
        if let RowKey::Hour { hour, event_type, item } = row.key {
            self.note_row(hour, event_type, item, &row.row);
        }
    }

    /// Notes a row, written or about to be.
    pub(crate) fn note_row(&self, hour: Hour, event_type: &str, item: &str, row: &StoredRow) {
        let mut lists = self.lists.lock();
        if let Some(at) = lists.find(hour, event_type) {
            lists.all[at].note(item, row.cells.iter().map(|cell| cell.summary.count).sum());
        }
    }

    /// The list of an hour and type that may have rows already; begins it where there is none.
    pub(crate) fn begin(&self, hour: Hour, event_type: &str) -> Begun {
        let mut lists = self.lists.lock();
        if let Some(at) = lists.find(hour, event_type) {
            let List { is_whole, number, .. } = lists.all[at];
            return if is_whole { Begun::Whole } else { Begun::Lacking(number) };
        }
        if lists.all.len() >= ASKED_MAX || !lists.is_all_noted {
            return Begun::Refused;
        }
        Begun::Lacking(lists.begin(hour, event_type, false))
    }

    /// Says that all rows were noted that were there when a list was begun.
    pub(crate) fn is_whole_now(&self, number: u64) {
        let mut lists = self.lists.lock();
        lists
            .all
            .iter_mut()
            .filter(|list| list.number == number)
            .for_each(|list| list.is_whole = true);
    }

    /// The items of a list that have the most, so many, and what they have at most; none where there is no such list.
    pub(crate) fn first(&self, hour: Hour, event_type: &str, wanted: usize) -> Vec<(String, u64)> {
        let mut lists = self.lists.lock();
        let at = lists.find(hour, event_type).filter(|at| lists.all[*at].is_whole);
        let Some(at) = at else { return Vec::new() };
        let mut first: Vec<(u64, &str)> =
            lists.all[at].items.iter().map(|(item, count)| (*count, &**item)).collect();
        if first.len() > wanted && wanted > 0 {
            first.select_nth_unstable_by(wanted - 1, |a, b| b.cmp(a));
        }
        first.truncate(wanted);
        first.into_iter().map(|(count, item)| (item.to_owned(), count)).collect()
    }

    /// The most that any item has in a row of an hour and type but those that are excepted; none where that is not
    /// known.
    pub(crate) fn bound(
        &self,
        hour: Hour,
        event_type: &str,
        is_excepted: impl Fn(&str) -> bool,
    ) -> Option<u64> {
        let mut lists = self.lists.lock();
        let at = lists.find(hour, event_type).filter(|at| lists.all[*at].is_whole)?;
        let List { items, bound, .. } = &lists.all[at];
        let others = items.iter().filter(|(item, _)| !is_excepted(item)).map(|(_, count)| *count);
        Some(others.fold(*bound, u64::max))
    }
}

impl Lists {
    /// The number of a new list.
    fn begin(&mut self, hour: Hour, event_type: &str, is_whole: bool) -> u64 {
        self.begun += 1;
        let (number, event_type) = (self.begun, event_type.into());
        let (items, bound) = (HashMap::new(), 0);
        self.all.push(List { hour, event_type, number, is_whole, items, bound });
        number
    }

    fn find(&mut self, hour: Hour, event_type: &str) -> Option<usize> {
        let is_it = |list: &List| list.hour == hour && *list.event_type == *event_type;
        if !self.all.get(self.last).is_some_and(is_it) {
            self.last = self.all.iter().position(is_it)?;
        }
        Some(self.last)
    }
}

/// The hours and types of rows.
fn written<'a>(
    counted: &[(Hour, &'a str)],
    corrected: &[CounterRow<'a>],
) -> BTreeSet<(Hour, &'a str)> {
    let mut written: BTreeSet<_> = counted.iter().copied().collect();
    written.extend(corrected.iter().filter_map(|row| match row.key {
        RowKey::Hour { hour, event_type, .. } => Some((hour, event_type)),
        RowKey::Total { .. } | RowKey::Day { .. } => None,
    }));
    written
}

impl List {
    fn note(&mut self, item: &str, count: u64) {
        // One that is in the list has more than the bound: what it had is kept.
        if count <= self.bound {
            return;
        }
        match self.items.get_mut(item) {
            Some(known) => *known = count.max(*known),
            None => drop(self.items.insert(item.into(), count)),
        }
        if self.items.len() > 2 * LEADERS {
            self.leave_out();
        }
    }

    /// Leaves out the lesser half.
    fn leave_out(&mut self) {
        let mut counts: Vec<u64> = self.items.values().copied().collect();
        let (_, bound, _) = counts.select_nth_unstable_by(LEADERS, |a, b| b.cmp(a));
        self.bound = *bound;
        self.items.retain(|_, count| *count > self.bound);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use model::Summary;
    use model::counter::{Cell, Stamp};

    use super::*;

    fn row(count: u64) -> StoredRow {
        let summary = vec![Summary::of(None); count as usize].iter().sum();
        StoredRow::begin(Stamp::default(), vec![Cell { slot: 0, summary }])
    }

    fn begin(leaders: &Leaders, hours: &[u32], had_rows: &[u32]) {
        let cells: Vec<_> = hours.iter().map(|hour| (Hour(*hour), "view")).collect();
        let had_rows = had_rows.iter().copied().map(Hour).collect();
        leaders.begin_flush(&cells, &[], || Ok::<_, Infallible>(had_rows)).unwrap();
    }

    #[test]
    fn no_item_outside_has_more_than_the_bound() {
        let leaders = Leaders::default();
        begin(&leaders, &[7], &[6]);
        let items = 5 * LEADERS as u64;
        let note = |n: u64, count| leaders.note_row(Hour(7), "view", &format!("i{n}"), &row(count));
        // Each comes twice, and has more the second time.
        let count = |n: u64| 1 + n * 7_919 % items / 8;
        for n in 0..items {
            note(n, count(n).div_ceil(2));
        }
        for n in (0..items).rev() {
            note(n, count(n));
        }
        let inside: HashMap<String, u64> =
            leaders.first(Hour(7), "view", usize::MAX).into_iter().collect();
        assert!(inside.len() <= 2 * LEADERS && inside.len() > LEADERS / 2, "{}", inside.len());
        let bound = leaders.bound(Hour(7), "view", |item| inside.contains_key(item)).unwrap();
        for n in 0..items {
            match inside.get(&format!("i{n}")) {
                Some(most) => assert_eq!(*most, count(n)),
                None => assert!(count(n) <= bound, "{n} has {} above {bound}", count(n)),
            }
        }
        // With one that is not excepted the bound is what it has.
        let (first, most) = inside.iter().max_by_key(|(_, most)| **most).unwrap();
        let all_but =
            leaders.bound(Hour(7), "view", |item| item != first && inside.contains_key(item));
        assert_eq!(all_but, Some(*most));
    }

    #[test]
    fn equal_counts_leave_no_room() {
        let leaders = Leaders::default();
        begin(&leaders, &[7], &[]);
        for n in 0..10 * LEADERS {
            leaders.note_row(Hour(7), "view", &format!("i{n}"), &row(3));
        }
        assert_eq!(leaders.bound(Hour(7), "view", |_| true), Some(3));
        assert!(leaders.first(Hour(7), "view", 9).is_empty(), "none has more than another");
    }

    #[test]
    fn what_had_rows_is_known_once_they_were_noted() {
        let leaders = Leaders::default();
        begin(&leaders, &[6, 7], &[6]);
        leaders.note_row(Hour(6), "view", "later", &row(5));
        assert_eq!(leaders.bound(Hour(7), "view", |_| false), Some(0));
        assert_eq!(leaders.bound(Hour(6), "view", |_| false), None, "rows of before lack");
        assert!(leaders.first(Hour(6), "view", 9).is_empty());
        let Begun::Lacking(number) = leaders.begin(Hour(6), "view") else { panic!("rows lack") };
        leaders.note_row(Hour(6), "view", "before", &row(8));
        leaders.is_whole_now(number);
        assert_eq!(leaders.begin(Hour(6), "view"), Begun::Whole);
        assert_eq!(leaders.first(Hour(6), "view", 1), [("before".to_owned(), 8)]);
        assert_eq!(leaders.bound(Hour(6), "view", |_| false), Some(8));
        assert_eq!(leaders.bound(Hour(6), "view", |item| item == "before"), Some(5));
        // A correction takes away: it says too much, and never too little.
        leaders.note_row(Hour(6), "view", "before", &row(2));
        assert_eq!(leaders.bound(Hour(6), "view", |_| false), Some(8));
        assert_eq!(leaders.bound(Hour(6), "like", |_| false), None, "another type");
    }

    #[test]
    fn lists_are_bounded_and_the_newest_stay() {
        let leaders = Leaders::default();
        for hour in 0..3 * LISTS_MAX as u32 {
            begin(&leaders, &[hour], &[]);
        }
        let newest = 3 * LISTS_MAX as u32 - 1;
        assert_eq!(leaders.bound(Hour(newest), "view", |_| false), Some(0));
        assert_eq!(leaders.bound(Hour(0), "view", |_| false), None);
        let of_type = |n: usize| leaders.begin(Hour(1), &format!("t{n}"));
        let begun = (0..10 * ASKED_MAX).map(of_type).filter(|begun| *begun != Begun::Refused);
        assert_eq!(begun.count(), ASKED_MAX - LISTS_MAX);
        // While rows are written for which there is no room, none is begun: it would lack them.
        begin(&leaders, &[0], &[]);
        assert_eq!(leaders.bound(Hour(0), "view", |_| false), None);
        assert_eq!(leaders.begin(Hour(0), "view"), Begun::Refused);
        begin(&leaders, &[newest], &[]);
        let Begun::Lacking(first) = leaders.begin(Hour(0), "view") else { panic!("there is room") };
        // Who has read the rows of a list that has gone meanwhile says nothing of the one that came after it.
        begin(&leaders, &[newest + 1], &[]);
        let Begun::Lacking(second) = leaders.begin(Hour(0), "view") else { panic!("begun anew") };
        leaders.is_whole_now(first);
        assert_eq!(leaders.bound(Hour(0), "view", |_| false), None);
        leaders.is_whole_now(second);
        assert_eq!(leaders.bound(Hour(0), "view", |_| false), Some(0));
    }

    #[test]
    fn many_types_at_once_have_few_lists() {
        let leaders = Leaders::default();
        let types: Vec<String> = (0..50_000).map(|n| format!("t{n:05}")).collect();
        let written: Vec<_> =
            types.iter().map(|event_type| (Hour(7), event_type.as_str())).collect();
        leaders.begin_flush(&written, &[], || Ok::<_, Infallible>(Vec::new())).unwrap();
        let known = |event_type: &&String| leaders.bound(Hour(7), event_type, |_| false).is_some();
        assert_eq!(types.iter().filter(known).count(), LISTS_MAX);
        assert_eq!(leaders.begin(Hour(7), "t00000"), Begun::Refused);
    }
}
