//! Behaviours of every [`CounterStore`].
//!
//! Each function takes a fresh store; [`keeps_all`] one that it may also reopen.

mod cold;
mod folding;
mod letters;
pub mod ownership;
mod sources;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::record::RecordError;
use model::{
    Cell, Checkpoint, Day, DeadLetter, Horizons, Hour, Offset, PartitionId, Retention, RowKey,
    Stamp, StoredRow, Summary, TimestampMs,
};

use crate::ports::{CounterRow, CounterSnapshot, CounterStore, ErrorKind, Flush, LetterState};
use letters::replaying;

const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);

/// Runs every behaviour on stores that `fresh` makes, each empty.
///
/// # Panics
/// When the store does not behave.
pub fn all(mut fresh: impl FnMut() -> Arc<dyn CounterStore>) {
    an_empty_store_has_nothing(&*fresh());
    rows_come_back_as_written(&*fresh());
    a_flush_replaces_rows(&*fresh());
    partitions_and_keys_are_apart(&*fresh());
    scans_find_what_lies_in_range(&*fresh());
    totals_of_an_item_are_found(&*fresh());
    folding::day_rows_are_apart(&*fresh());
    folding::folds_what_lies_below_the_horizon(&*fresh());
    folding::goes_on_when_the_horizon_moves(&*fresh());
    cold::hours_are_paged(&*fresh());
    cold::hours_of_cold_days_are_removed(&*fresh());
    letters::are_paged(&*fresh());
    letters::move_from_state_to_state(&*fresh(), true);
    sources::are_kept_and_forgotten(&*fresh(), true);
    sources::files_are_kept(&*fresh());
    late_flushes_are_refused(&*fresh());
    ownership::a_claim_says_where_to_go_on(&*fresh());
    a_snapshot_stays_as_it_was(&*fresh());
    snapshots_see_whole_flushes(fresh());
}

/// Runs the behaviours of a store over many machines: all of them but those of snapshots that see whole
/// flushes. Removing cold hours and folding, which snapshots of before must not notice, are for such a
/// store to test.
///
/// # Panics
/// When the store does not behave.
pub fn row_by_row(mut fresh: impl FnMut() -> Arc<dyn CounterStore>) {
    an_empty_store_has_nothing(&*fresh());
    rows_come_back_as_written(&*fresh());
    a_flush_replaces_rows(&*fresh());
    partitions_and_keys_are_apart(&*fresh());
    scans_find_what_lies_in_range(&*fresh());
    totals_of_an_item_are_found(&*fresh());
    folding::day_rows_are_apart(&*fresh());
    cold::hours_are_paged(&*fresh());
    letters::are_paged(&*fresh());
    letters::move_from_state_to_state(&*fresh(), false);
    sources::are_kept_and_forgotten(&*fresh(), false);
    sources::files_are_kept(&*fresh());
    late_flushes_are_refused(&*fresh());
    ownership::a_claim_says_where_to_go_on(&*fresh());
    ownership::rows_are_of_one_flush_each(fresh());
}

/// A store gives back after reopening what it held before, and refuses what it refused before.
///
/// # Panics
/// When it does not.
pub fn keeps_all(mut open: impl FnMut() -> Arc<dyn CounterStore>) {
    let day = RowKey::Day { day: Day(3), event_type: "view", item: "a" };
    let keys =
        [total("a", "view"), hour(6, "view", "a"), hour(7, "view", "a"), hour(9, "view", "b"), day];
    let rows: Vec<_> = keys.iter().map(|key| (*key, row(5, &[(3, 2)]))).collect();
    let letters = [dead_letter(4)];
    {
        let store = open();
        sources::write(&*store, P1, 4, &[("kept", Some(7))]).expect("a flush of a source");
        write(&*store, P1, 1, 5, &rows, &letters).expect("the first flush is taken");
        store.mark(P1, Offset(4), &LetterState::Open, &replaying(3)).expect("a mark");
        assert!(store.fold(P1, 9).expect("folding").is_done);
        store.note_cold(Day(3)).expect("noted");
    }
    let store = open();

    let snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(snapshot.checkpoint(P1).expect("a checkpoint"), Some(checkpoint(1, 5)));
    let expected: Vec<_> = rows.iter().map(|(_, row)| Some(row.clone())).collect();
    assert_eq!(snapshot.get(P1, &keys).expect("rows"), expected);
    assert_eq!(scan_item(&*snapshot, P1, "b", "view", 0..u32::MAX), [(9, row(5, &[(3, 2)]))]);
    assert_eq!(sources::read(&*snapshot, P1), [("kept".to_owned(), 7)]);
    let hours = snapshot.hours(P1, 0..u32::MAX).expect("hours");
    assert!(hours.contains(&Hour(7)) && hours.contains(&Hour(9)), "{hours:?}");
    assert_eq!(snapshot.days(P1, 0..9).expect("days"), [Day(3)]);
    assert_eq!(snapshot.cold_until().expect("a day"), Day(3));
    let letters = snapshot.dead_letters(P1, Offset(0), 9).expect("letters");
    assert_eq!(letters.iter().map(|l| &l.state).collect::<Vec<_>>(), [&replaying(3)]);
    assert_conflict(write(&*store, P1, 1, 5, &[], &[]));
    let unfolded = [(hour(6, "view", "a"), row(6, &[(3, 2), (4, 1)]))];
    write(&*store, P1, 1, 6, &unfolded, &[]).expect("a later flush is taken");
    let folded = store.fold(P1, 9).expect("folding");
    assert_eq!((folded.rows, folded.is_done), (0, true), "it knows what it has looked at");
}

fn an_empty_store_has_nothing(store: &dyn CounterStore) {
    let snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(snapshot.checkpoint(P0).expect("an answer"), None);
    let keys = [total("a", "view"), hour(1, "view", "a")];
    assert_eq!(snapshot.get(P0, &keys).expect("an answer"), [None, None]);
    assert_eq!(snapshot.get(P0, &[]).expect("an answer"), []);
    assert_eq!(scan_item(&*snapshot, P0, "a", "view", 0..u32::MAX), []);
    assert_eq!(scan_hour(&*snapshot, P0, 1, "view"), []);
    assert_eq!(snapshot.hours(P0, 0..u32::MAX).expect("an answer"), []);
    assert_eq!(snapshot.dead_letters(P0, Offset(0), 9).expect("an answer"), []);
}

fn rows_come_back_as_written(store: &dyn CounterStore) {
    let extremes = Summary {
        count: u64::MAX,
        value_count: u64::MAX - 1,
        sum: i128::MIN,
        min: i64::MIN,
        max: i64::MAX,
    };
    let stamp =
        Stamp { log_epoch: u32::MAX, base_offset: Offset(3), next_offset: Offset(u64::MAX) };
    let cells = (0..=Cell::WHOLE).map(|slot| Cell { slot, summary: extremes }).collect();
    let mut rows = vec![
        (total("a", "view"), StoredRow::default()),
        (total("b", "view"), StoredRow { stamp, cells, newest_hour: None }),
    ];
    let long_item = "日".repeat(model::limits::ITEM_BYTES_MAX / 3);
    let long_type = "t".repeat(model::limits::TYPE_BYTES_MAX);
    rows.push((total(&long_item, &long_type), row(9, &[(60, 1)])));
    rows.push((hour(u32::MAX - 1, &long_type, &long_item), row(9, &[(0, 1), (59, 2)])));
    write(store, P0, 1, 10, &rows, &[]).expect("a flush");
    let snapshot = store.snapshot().expect("a snapshot");
    for (key, row) in &rows {
        assert_eq!(snapshot.get(P0, &[*key]).expect("a row"), [Some(row.clone())], "{key:?}");
    }
    // In any order, also with keys that are not there, and the same key twice.
    let asked = [rows[3].0, total("a", "like"), rows[0].0, rows[3].0];
    let found = snapshot.get(P0, &asked).expect("rows");
    let row = |at: usize| Some(rows[at].1.clone());
    assert_eq!(found, [row(3), None, row(0), row(3)]);
}

fn a_flush_replaces_rows(store: &dyn CounterStore) {
    for next in 1..4 {
        let rows = [(total("a", "view"), row(next, &[(60, next)]))];
        write(store, P0, 1, next, &rows, &[]).expect("a flush");
    }
    let found = store.snapshot().expect("a snapshot").get(P0, &[total("a", "view")]);
    assert_eq!(found.expect("a row"), [Some(row(3, &[(60, 3)]))]);
}

fn partitions_and_keys_are_apart(store: &dyn CounterStore) {
    let keys = [
        total("a", "view"),
        total("a", "view.x"),
        total("a b", "view"),
        total("ab", "view"),
        hour(1, "view", "a"),
        hour(1, "view", "ab"),
        hour(1, "view.x", "a"),
        hour(256, "view", "a"),
    ];
    for (partition, offset) in [(P0, 100), (P1, 200), (PartitionId(256), 300)] {
        let rows: Vec<_> = (offset..).zip(keys).map(|(n, key)| (key, row(n, &[(1, n)]))).collect();
        write(store, partition, 1, offset + 50, &rows, &[]).expect("a flush");
    }
    let snapshot = store.snapshot().expect("a snapshot");
    for (partition, offset) in [(P0, 100), (P1, 200), (PartitionId(256), 300)] {
        let found = snapshot.get(partition, &keys).expect("rows");
        let expected: Vec<_> =
            (offset..).take(keys.len()).map(|n| Some(row(n, &[(1, n)]))).collect();
        assert_eq!(found, expected);
        let stored = snapshot.checkpoint(partition).expect("a checkpoint");
        assert_eq!(stored, Some(checkpoint(1, offset + 50)));
    }
}

fn scans_find_what_lies_in_range(store: &dyn CounterStore) {
    let rows: Vec<_> = [
        (1, "like", "a"),
        (1, "view", "a"),
        (1, "view", "ab"),
        (1, "view", "b"),
        (2, "view", "b"),
        (70_000, "view", "a"),
        (70_000, "view.x", "a"),
    ]
    .into_iter()
    .zip(1..)
    .map(|((at, event_type, item), n)| (hour(at, event_type, item), row(n, &[(n as u8, n)])))
    .collect();
    write(store, P0, 1, 100, &rows, &[]).expect("a flush");
    write(store, P1, 1, 100, &[(hour(5, "view", "a"), row(1, &[(0, 1)]))], &[]).expect("a flush");
    let snapshot = store.snapshot().expect("a snapshot");
    let at = |n: u64| row(n, &[(n as u8, n)]);
    let of_a = |hours| scan_item(&*snapshot, P0, "a", "view", hours);
    assert_eq!(of_a(0..u32::MAX), [(1, at(2)), (70_000, at(6))]);
    assert_eq!(of_a(1..70_000), [(1, at(2))]);
    assert_eq!(of_a(2..70_000), []);
    assert_eq!(of_a(70_000..70_001), [(70_000, at(6))]);
    assert_eq!(of_a(9..9), []);
    assert_eq!(scan_item(&*snapshot, P1, "a", "view", 0..9), [(5, row(1, &[(0, 1)]))]);
    let of_hour = |hour, event_type| scan_hour(&*snapshot, P0, hour, event_type);
    let named = |item: &str, n| (item.to_owned(), at(n));
    assert_eq!(of_hour(1, "view"), [named("a", 2), named("ab", 3), named("b", 4)]);
    assert_eq!(of_hour(1, "like"), [named("a", 1)]);
    assert_eq!(of_hour(70_000, "view"), [named("a", 6)]);
    assert_eq!(of_hour(3, "view"), []);
    let hours = snapshot.hours(P0, 1..70_001).expect("hours");
    for hour in [1, 2, 70_000].map(Hour) {
        assert!(hours.contains(&hour), "{hour:?} is missing in {hours:?}");
    }
    assert!(hours.is_sorted(), "{hours:?}");
    assert_eq!(snapshot.hours(P0, 71_000..u32::MAX).expect("hours"), []);
}

fn totals_of_an_item_are_found(store: &dyn CounterStore) {
    // Items of which one begins with another, and types that do.
    let keys = [("a", "like"), ("a", "view"), ("a", "view.x"), ("ab", "view"), ("b", "view")];
    let keys = keys.map(|(item, event_type)| total(item, event_type));
    let rows: Vec<_> = keys.into_iter().zip(1..).map(|(k, n)| (k, row(n, &[(60, n)]))).collect();
    write(store, P0, 1, 100, &rows, &[]).expect("a flush");
    let snapshot = store.snapshot().expect("a snapshot");
    let of = |partition, item| {
        let mut found = Vec::new();
        let mut each = |event_type: &str, row: StoredRow| {
            found.push((event_type.to_owned(), row.summary().count));
        };
        snapshot.scan_item_totals(partition, item, &mut each).expect("a scan");
        found
    };
    let named = |event_type: &str, n| (event_type.to_owned(), n);
    assert_eq!(of(P0, "a"), [named("like", 1), named("view", 2), named("view.x", 3)]);
    assert_eq!(of(P0, "ab"), [named("view", 4)]);
    assert_eq!(of(P0, "c"), []);
    assert_eq!(of(P1, "a"), []);
}

fn late_flushes_are_refused(store: &dyn CounterStore) {
    let key = total("a", "view");
    let flush = |epoch, next| {
        let rows = [(key, row(next, &[(60, u64::from(epoch))]))];
        write(store, P0, epoch, next, &rows, &[dead_letter(next)])
    };
    flush(2, 10).expect("the first flush is taken");
    for (epoch, next) in [(2, 10), (2, 9), (1, 11), (0, 0)] {
        assert_conflict(flush(epoch, next));
    }
    let snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(snapshot.get(P0, &[key]).expect("a row"), [Some(row(10, &[(60, 2)]))]);
    assert_eq!(snapshot.checkpoint(P0).expect("a checkpoint"), Some(checkpoint(2, 10)));
    assert_eq!(snapshot.dead_letters(P0, Offset(0), 9).expect("letters").len(), 1);
    flush(2, 11).expect("a later offset is taken");
    flush(3, 1).expect("a later epoch is taken, whatever its offset");
    assert_conflict(flush(2, 12));
    write(store, P1, 1, 1, &[], &[]).expect("another partition has an order of its own");
}

fn a_snapshot_stays_as_it_was(store: &dyn CounterStore) {
    let key = hour(1, "view", "a");
    write(store, P0, 1, 1, &[(key, row(1, &[(1, 1)]))], &[dead_letter(0)]).expect("a flush");
    let before = store.snapshot().expect("a snapshot");
    let more = [(key, row(2, &[(1, 2)])), (hour(2, "view", "a"), row(2, &[(1, 1)]))];
    write(store, P0, 1, 2, &more, &[dead_letter(1)]).expect("a flush");
    assert_eq!(before.checkpoint(P0).expect("a checkpoint"), Some(checkpoint(1, 1)));
    assert_eq!(before.get(P0, &[key]).expect("a row"), [Some(row(1, &[(1, 1)]))]);
    assert_eq!(scan_item(&*before, P0, "a", "view", 0..9), [(1, row(1, &[(1, 1)]))]);
    assert_eq!(scan_hour(&*before, P0, 2, "view"), []);
    assert_eq!(before.dead_letters(P0, Offset(0), 9).expect("letters").len(), 1);
    let after = store.snapshot().expect("a snapshot");
    assert_eq!(scan_item(&*after, P0, "a", "view", 0..9).len(), 2);
}

/// Two partitions flush at once, while snapshots are read: each sees rows and checkpoint of one
/// flush, and never goes back.
fn snapshots_see_whole_flushes(store: Arc<dyn CounterStore>) {
    const FLUSHES: u64 = 40;
    const ITEMS: u64 = 50;
    let items: Vec<String> = (0..ITEMS).map(|n| format!("item-{n:02}")).collect();
    let keys: Vec<RowKey<'_>> = items.iter().map(|item| total(item, "view")).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [P0, P1].map(|partition| {
            let (store, keys) = (&store, &keys);
            scope.spawn(move || {
                // Every flush counts one more event of each item.
                for flush in 1..=FLUSHES {
                    let next = flush * ITEMS;
                    let rows: Vec<_> =
                        keys.iter().map(|key| (*key, row(next, &[(60, flush)]))).collect();
                    write(&**store, partition, 1, next, &rows, &[]).expect("a flush");
                }
            })
        });
        let reader = scope.spawn(|| {
            let mut seen = [0; 2];
            loop {
                let last = done.load(Ordering::Acquire);
                let snapshot = store.snapshot().expect("a snapshot");
                for (partition, seen) in [P0, P1].into_iter().zip(&mut seen) {
                    let rows = snapshot.get(partition, &keys).expect("rows");
                    let counted: u64 = rows.iter().flatten().map(|r| r.summary().count).sum();
                    let stored = snapshot.checkpoint(partition).expect("an answer");
                    assert_eq!(counted, stored.map_or(0, |c| c.next_offset.0));
                    assert!(counted >= *seen, "{counted} after {seen}");
                    *seen = counted;
                }
                if last {
                    return seen;
                }
            }
        });
        for writer in writers {
            writer.join().expect("a writer ends well");
        }
        done.store(true, Ordering::Release);
        assert_eq!(reader.join().expect("the reader ends well"), [FLUSHES * ITEMS; 2]);
    });
}

fn total<'a>(item: &'a str, event_type: &'a str) -> RowKey<'a> {
    RowKey::Total { item, event_type }
}

fn hour<'a>(hour: u32, event_type: &'a str, item: &'a str) -> RowKey<'a> {
    RowKey::Hour { hour: Hour(hour), event_type, item }
}

/// A row that has counted up to an offset, with slots and their counts.
fn row(next: u64, cells: &[(u8, u64)]) -> StoredRow {
    let stamp = Stamp { log_epoch: 1, base_offset: Offset(0), next_offset: Offset(next) };
    let cells = cells
        .iter()
        .map(|&(slot, count)| Cell { slot, summary: Summary { count, ..Summary::EMPTY } })
        .collect();
    StoredRow { stamp, cells, newest_hour: None }
}

fn checkpoint(log_epoch: u32, next: u64) -> Checkpoint {
    Checkpoint {
        log_epoch,
        next_offset: Offset(next),
        append_time: TimestampMs(i64::try_from(next).expect("a small offset") - 7),
        window_start_offset: Offset(next / 2),
        window_start_minute: 8,
        window_minutes: 9,
        retention: Retention::new(3, 7).expect("hours are kept longer"),
        horizons: Horizons::new(Hour(7), Day(0)).expect("days go last"),
    }
}

fn dead_letter(offset: u64) -> DeadLetter {
    DeadLetter {
        offset: Offset(offset),
        append_time: TimestampMs(12),
        reason: RecordError::Rule("the item is not valid"),
        record: vec![0xff, 0, offset as u8],
    }
}

fn write(
    store: &dyn CounterStore,
    partition: PartitionId,
    log_epoch: u32,
    next: u64,
    rows: &[(RowKey<'_>, StoredRow)],
    dead_letters: &[DeadLetter],
) -> Result<(), crate::ports::PortError> {
    let mut rows: Vec<_> =
        rows.iter().map(|(key, row)| CounterRow { key: *key, row: row.clone() }).collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let checkpoint = checkpoint(log_epoch, next);
    let flush =
        Flush { partition, dead_letters, sources: &[], bulk: &[], repairs: &[], checkpoint };
    store.flush(&flush, &mut rows.into_iter().map(Ok))
}

fn assert_conflict(result: Result<(), crate::ports::PortError>) {
    assert_eq!(result.expect_err("the flush comes late").kind, ErrorKind::Conflict);
}

fn scan_item(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    item: &str,
    event_type: &str,
    hours: std::ops::Range<u32>,
) -> Vec<(u32, StoredRow)> {
    let mut found = Vec::new();
    let mut each = |hour: Hour, row| found.push((hour.0, row));
    snapshot.scan_item(partition, item, event_type, hours, &mut each).expect("a scan");
    found
}

fn scan_hour(
    snapshot: &dyn CounterSnapshot,
    partition: PartitionId,
    hour: u32,
    event_type: &str,
) -> Vec<(String, StoredRow)> {
    let mut found = Vec::new();
    let mut each = |item: &str, row| found.push((item.to_owned(), row));
    snapshot.scan_hour(partition, Hour(hour), event_type, &mut each).expect("a scan");
    found
}
