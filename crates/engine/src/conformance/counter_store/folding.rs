//! Old minutes: what folding changes, what it leaves, and where it goes on.

use model::{Day, Horizons, Hour, PartitionId, RowKey, StoredRow};

use crate::ports::{CounterRow, CounterStore, Flush, Folded};

use super::{P0, P1, checkpoint, hour, row, scan_item, total};

/// Only rows below the horizon change, a few at a time, and each is looked at once.
pub(super) fn folds_what_lies_below_the_horizon(store: &dyn CounterStore) {
    const LONG: &[(u8, u64)] = &[(3, 2), (59, 5)];
    let rows = [
        (total("a", "view"), row(5, LONG)),
        (hour(47, "like", "b"), row(5, LONG)),
        (hour(47, "view", "a"), row(5, LONG)),
        (hour(47, "view", "b"), row(5, &[(7, 4)])),
        (hour(47, "view", "c"), row(5, &[(60, 4)])),
        (hour(48, "view", "a"), row(5, &[(3, 2), (60, 5)])),
        (hour(49, "view", "a"), row(5, LONG)),
    ];
    assert_eq!(fold(store, P0, 9), (0, true), "there is no checkpoint yet");
    write(store, P0, 5, 0, &rows);
    write(store, P1, 5, 49, &rows[5..]);
    assert_eq!(fold(store, P0, 9), (0, true), "nothing is below the horizon");
    write(store, P0, 6, 49, &[]);
    let before = store.snapshot().expect("a snapshot");
    assert_eq!(fold(store, P0, 2), (2, false));
    assert_eq!(fold(store, P0, 2), (0, false));
    assert_eq!(fold(store, P0, 2), (1, true));
    assert_eq!(fold(store, P0, 2), (0, true));
    let whole = |count| row(5, &[(60, count)]);
    let expected =
        [row(5, LONG), whole(7), whole(7), row(5, &[(7, 4)]), whole(4), whole(7), row(5, LONG)];
    let keys = rows.each_ref().map(|(key, _)| *key);
    let found =
        |snapshot: &dyn crate::ports::CounterSnapshot| snapshot.get(P0, &keys).expect("rows");
    let after = store.snapshot().expect("a snapshot");
    assert_eq!(found(&*after), expected.map(Some));
    assert_eq!(found(&*before), rows.map(|(_, row)| Some(row)), "a snapshot stays as it was");
    assert_eq!(after.checkpoint(P0).expect("one").map(|c| c.next_offset.0), Some(6));
    let others = scan_item(&*after, P1, "a", "view", 0..u32::MAX);
    assert_eq!(others, [(48, row(5, &[(3, 2), (60, 5)])), (49, row(5, LONG))]);
}

/// What was folded is not looked at again, whatever a flush makes of it; what newly fell below the
/// horizon is.
pub(super) fn goes_on_when_the_horizon_moves(store: &dyn CounterStore) {
    const LONG: &[(u8, u64)] = &[(3, 2), (59, 5)];
    write(store, P0, 5, 48, &[(hour(47, "view", "a"), row(5, LONG))]);
    assert_eq!(fold(store, P0, 9), (1, true));
    write(store, P0, 6, 48, &[(hour(47, "view", "a"), row(6, LONG))]);
    assert_eq!(fold(store, P0, 9), (0, true), "that hour was folded");
    write(store, P0, 7, 49, &[(hour(48, "view", "a"), row(7, LONG))]);
    assert_eq!(fold(store, P0, 9), (1, true));
}

/// Day rows are rows like others, and are found by their day.
pub(super) fn day_rows_are_apart(store: &dyn CounterStore) {
    let day = |day, event_type, item| RowKey::Day { day: Day(day), event_type, item };
    let keys = [
        hour(3, "view", "a"),
        day(2, "view", "a"),
        day(3, "like", "a"),
        day(3, "view", "a"),
        day(3, "view", "ab"),
        day(300, "view", "a"),
    ];
    let rows: Vec<_> = (1..).zip(keys).map(|(n, key)| (key, row(n, &[(60, n)]))).collect();
    write(store, P0, 9, 48, &rows);
    let snapshot = store.snapshot().expect("a snapshot");
    let expected: Vec<_> = rows.iter().map(|(_, row)| Some(row.clone())).collect();
    assert_eq!(snapshot.get(P0, &keys).expect("rows"), expected);
    let mut found = Vec::new();
    let mut each =
        |item: &str, row: StoredRow| found.push((item.to_owned(), row.stamp.next_offset.0));
    snapshot.scan_day(P0, Day(3), "view", &mut each).expect("a scan");
    snapshot.scan_day(P0, Day(4), "view", &mut each).expect("a scan");
    snapshot.scan_day(P1, Day(3), "view", &mut each).expect("a scan");
    assert_eq!(found, [("a".to_owned(), 4), ("ab".to_owned(), 5)]);
    let all = |range| {
        let mut found = Vec::new();
        let mut each = |day: Day, event_type: &str, item: &str, row: StoredRow| {
            found.push((day.0, event_type.to_owned(), item.to_owned(), row.stamp.next_offset.0));
        };
        snapshot.scan_days(P0, range, &mut each).expect("a scan");
        found
    };
    let named = |day, event_type: &str, item: &str, n| (day, event_type.into(), item.into(), n);
    let of_day_3 = [named(3, "like", "a", 3), named(3, "view", "a", 4), named(3, "view", "ab", 5)];
    assert_eq!(all(3..300), of_day_3);
    assert_eq!(all(0..u32::MAX).len(), 5);
    #[expect(clippy::reversed_empty_ranges, reason = "a question may end before it begins")]
    let backwards = all(9..2);
    assert_eq!(backwards, []);
    let days = |range| snapshot.days(P0, range).expect("days");
    assert_eq!(days(0..u32::MAX), [2, 3, 300].map(Day));
    assert_eq!(days(3..300), [Day(3)]);
    #[expect(clippy::reversed_empty_ranges, reason = "a question may end before it begins")]
    let backwards = days(9..2);
    assert_eq!(backwards, []);
    assert_eq!(snapshot.hours(P0, 0..u32::MAX).expect("hours"), [Hour(3)]);
}

fn fold(store: &dyn CounterStore, partition: PartitionId, rows_max: usize) -> (u64, bool) {
    let Folded { rows, is_done } = store.fold(partition, rows_max).expect("folding");
    (rows, is_done)
}

/// A flush whose checkpoint keeps minutes from an hour on.
fn write(
    store: &dyn CounterStore,
    partition: PartitionId,
    next: u64,
    minute_horizon: u32,
    rows: &[(RowKey<'_>, StoredRow)],
) {
    let horizons = Horizons::new(Hour(minute_horizon), Day(0)).expect("days go last");
    let checkpoint = model::Checkpoint { horizons, ..checkpoint(1, next) };
    let flush =
        Flush { partition, dead_letters: &[], sources: &[], repairs: &[], bulk: &[], checkpoint };
    let rows = rows.iter().map(|(key, row)| CounterRow { key: *key, row: row.clone() });
    store.flush(&flush, &mut rows.map(Ok)).expect("a flush");
}
