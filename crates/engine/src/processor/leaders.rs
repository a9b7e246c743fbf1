//! The most counted items of the newest hours, so that a ranking of a million items need not read a million rows.
//!
//! A list of an hour and type holds items with what their rows had when they were written, and a bound: **no item that
//! is not in it has more in any row**, be it committed or just being written. Rows are noted before they are committed,
//! so who pins a snapshot first and asks for the bound afterwards can rely on it. Counts in rows only grow; after a
//! correction that takes away, a list says too much, never too little.

use std::collections::{BTreeSet, HashMap};

use model::aggregate::HourCells;
use model::counter::RowKey;
use model::{Hour, StoredRow};
use parking_lot::Mutex;

use crate::ports::CounterRow;

/// Items that are kept in a list, at least.
pub(crate) const LEADERS: usize = 1_024;
/// Lists that are kept when rows of another hour or type are written; those of the oldest hours go.
const LISTS_MAX: usize = 64;
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
    /// Whether there is a list for every row of the flush that is under way, if one is: a list that is begun in the
    /// middle of a flush would lack its rows.
    is_all_noted: bool,
}

impl Default for Lists {
    fn default() -> Self {
        Self { all: Vec::new(), last: 0, is_all_noted: true }
    }
}

struct List {
    hour: Hour,
    event_type: Box<str>,
    /// Whether all rows that there are were noted; else only those since it was begun.
    is_whole: bool,
    items: HashMap<Box<str>, u64>,
    /// The most that was left out.
    bound: u64,
}

impl Leaders {
    /// Says that rows of these hours are going to be written, and of the rows that will be written with them: from here
    /// on they are noted. `had_rows` gives the hours that may have rows by now; it is asked only where that is needed.
    pub(super) fn begin_flush<E>(
        &self,
        cells: &[HourCells<'_>],
        corrected: &[CounterRow<'_>],
        had_rows: impl FnOnce() -> Result<Vec<Hour>, E>,
    ) -> Result<(), E> {
        let written = written(cells, corrected);
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
        for key @ (hour, event_type) in &written {
            // A question may have begun it meanwhile.
            if is_new(&mut lists, *key) {
                lists.all.push(List::new(*hour, event_type, !had_rows.contains(hour)));
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

    /// Begins a list of rows that may be there already; whether it lacks those. They are to be noted then, by a
    /// snapshot that is taken after this, and [`Self::is_whole_now`] said. None where there are too many.
    pub(crate) fn begin(&self, hour: Hour, event_type: &str) -> Option<bool> {
        let mut lists = self.lists.lock();
        if let Some(at) = lists.find(hour, event_type) {
            return Some(!lists.all[at].is_whole);
        }
        if lists.all.len() >= ASKED_MAX || !lists.is_all_noted {
            return None;
        }
        lists.all.push(List::new(hour, event_type, false));
        Some(true)
    }

    /// Says that all rows were noted that were there when a list was begun.
    pub(crate) fn is_whole_now(&self, hour: Hour, event_type: &str) {
        let mut lists = self.lists.lock();
        if let Some(at) = lists.find(hour, event_type) {
            lists.all[at].is_whole = true;
        }
    }

    /// Calls `each` with the items of a list and what they have at most; whether there is such a list.
    pub(crate) fn for_each(
        &self,
        hour: Hour,
        event_type: &str,
        mut each: impl FnMut(&str, u64),
    ) -> bool {
        let mut lists = self.lists.lock();
        let Some(at) = lists.find(hour, event_type).filter(|at| lists.all[*at].is_whole) else {
            return false;
        };
        lists.all[at].items.iter().for_each(|(item, count)| each(item, *count));
        true
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
    fn find(&mut self, hour: Hour, event_type: &str) -> Option<usize> {
        let is_it = |list: &List| list.hour == hour && *list.event_type == *event_type;
        if !self.all.get(self.last).is_some_and(is_it) {
            self.last = self.all.iter().position(is_it)?;
        }
        Some(self.last)
    }
}

/// The hours and types of rows.
fn written<'a>(cells: &[HourCells<'a>], corrected: &[CounterRow<'a>]) -> BTreeSet<(Hour, &'a str)> {
    let mut written = BTreeSet::new();
    let mut before = None;
    for row in cells {
        let key = (row.hour, row.event_type);
        // They are sorted by it.
        if before != Some(key) {
            before = Some(key);
            written.insert(key);
        }
    }
    written.extend(corrected.iter().filter_map(|row| match row.key {
        RowKey::Hour { hour, event_type, .. } => Some((hour, event_type)),
        RowKey::Total { .. } | RowKey::Day { .. } => None,
    }));
    written
}

impl List {
    fn new(hour: Hour, event_type: &str, is_whole: bool) -> Self {
        Self { hour, event_type: event_type.into(), is_whole, items: HashMap::new(), bound: 0 }
    }

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
        let cells = |hour: &u32| HourCells {
            hour: Hour(*hour),
            event_type: "view",
            item: "x",
            cells: Vec::new(),
            total: 0,
        };
        let cells: Vec<_> = hours.iter().map(cells).collect();
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
        let mut inside = HashMap::new();
        assert!(leaders.for_each(Hour(7), "view", |item, most| {
            inside.insert(item.to_owned(), most);
        }));
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
        assert!(leaders.for_each(Hour(7), "view", |_, _| panic!("none has more than another")));
    }

    #[test]
    fn what_had_rows_is_known_once_they_were_noted() {
        let leaders = Leaders::default();
        begin(&leaders, &[6, 7], &[6]);
        leaders.note_row(Hour(6), "view", "later", &row(5));
        assert_eq!(leaders.bound(Hour(7), "view", |_| false), Some(0));
        assert_eq!(leaders.bound(Hour(6), "view", |_| false), None, "rows of before lack");
        assert!(!leaders.for_each(Hour(6), "view", |_, _| ()));
        assert_eq!(leaders.begin(Hour(6), "view"), Some(true));
        leaders.note_row(Hour(6), "view", "before", &row(8));
        leaders.is_whole_now(Hour(6), "view");
        assert_eq!(leaders.begin(Hour(6), "view"), Some(false));
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
        let begun = (0..10 * ASKED_MAX).filter_map(|n| leaders.begin(Hour(1), &format!("t{n}")));
        assert_eq!(begun.count(), ASKED_MAX - LISTS_MAX);
        // While rows are written for which there is no room, none is begun: it would lack them.
        begin(&leaders, &[0], &[]);
        assert_eq!(leaders.bound(Hour(0), "view", |_| false), None);
        assert_eq!(leaders.begin(Hour(0), "view"), None);
        begin(&leaders, &[newest], &[]);
        assert_eq!(leaders.begin(Hour(0), "view"), Some(true));
    }
}
