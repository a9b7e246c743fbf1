//! Cold days: their hour rows are read a page at a time, and go.

use model::{Day, Hour, PartitionId, RowKey, StoredRow};

use crate::ports::{CounterSnapshot, CounterStore, NamedRow};

use super::{P0, P1, hour, row, scan_item, total, write};

/// A page goes on behind the row before it, whatever stands beside the hour.
pub(super) fn hours_are_paged(store: &dyn CounterStore) {
    let keys = [
        (7, "view", "z"),
        (8, "like", "b"),
        (8, "like", "ba"),
        (8, "view", "a"),
        (8, "view.x", "a"),
        (9, "like", "a"),
    ];
    let rows: Vec<_> =
        (1..).zip(keys).map(|(n, (at, t, item))| (hour(at, t, item), row(n, &[(1, n)]))).collect();
    write(store, P0, 1, 9, &rows, &[]).expect("a flush");
    write(store, P1, 1, 9, &rows[1..2], &[]).expect("a flush");
    let snapshot = store.snapshot().expect("a snapshot");
    for limit in 1..6 {
        let mut found: Vec<NamedRow> = Vec::new();
        loop {
            let last = found.last().map(|(t, item, _)| (t.as_str(), item.as_str()));
            let page = snapshot.page(P0, Hour(8), last, limit).expect("a page");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        let names: Vec<_> = found.iter().map(|(t, item, _)| (t.as_str(), item.as_str())).collect();
        assert_eq!(names, [("like", "b"), ("like", "ba"), ("view", "a"), ("view.x", "a")]);
        assert_eq!(found[3].2, row(5, &[(1, 5)]));
    }
    assert_eq!(snapshot.page(P0, Hour(10), None, 9).expect("a page"), []);
}

/// What is noted stays noted; the rows of hours of those days go, a few at a time, and no others.
pub(super) fn hours_of_cold_days_are_removed(store: &dyn CounterStore) {
    let day = RowKey::Day { day: Day(1), event_type: "view", item: "a" };
    let keys = [
        total("a", "view"),
        hour(3, "view", "a"),
        hour(47, "like", "a"),
        hour(47, "view", "a"),
        hour(48, "view", "a"),
        day,
    ];
    let rows = keys.map(|key| (key, row(5, &[(60, 1)])));
    for partition in [P0, P1] {
        write(store, partition, 1, 9, &rows, &[]).expect("a flush");
    }
    let before = store.snapshot().expect("a snapshot");
    assert_eq!(before.cold_until().expect("a day"), Day(0));
    assert!(store.remove_cold(P0, 9).expect("removed"), "no day is cold");
    store.note_cold(Day(2)).expect("noted");
    store.note_cold(Day(1)).expect("a day before changes nothing");
    let remove = |partition, rows_max| store.remove_cold(partition, rows_max).expect("removed");
    assert_eq!([remove(P0, 2), remove(P0, 2), remove(P0, 2)], [false, true, true]);
    let after = store.snapshot().expect("a snapshot");
    assert_eq!(after.cold_until().expect("a day"), Day(2));
    let found = |snapshot: &dyn CounterSnapshot, partition: PartitionId| -> Vec<bool> {
        let rows: Vec<Option<StoredRow>> = snapshot.get(partition, &keys).expect("rows");
        rows.iter().map(Option::is_some).collect()
    };
    assert_eq!(found(&*after, P0), [true, false, false, false, true, true]);
    assert_eq!(found(&*after, P1), [true; 6]);
    assert_eq!(found(&*before, P0), [true; 6], "a snapshot stays as it was");
    assert_eq!(scan_item(&*before, P0, "a", "view", 0..99).len(), 3);
    assert_eq!(scan_item(&*after, P0, "a", "view", 0..99).len(), 1);
}
