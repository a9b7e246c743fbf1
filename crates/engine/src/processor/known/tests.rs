use std::collections::{BTreeMap, HashMap};

use model::counter::bytes::write_row;
use model::counter::{Cell, Stamp};
use model::{Offset, Summary};
use proptest::prelude::*;

use super::*;

const TYPE: &str = "view";

/// A total that has counted up to an offset.
fn total(next: u64) -> StoredRow {
    let stamp = Stamp { log_epoch: 1, base_offset: Offset(0), next_offset: Offset(next) };
    StoredRow::begin(stamp, vec![Cell { slot: Cell::WHOLE, summary: Summary::of(None) }])
}

fn learn(known: &mut KnownRows, item: &str, row: &StoredRow, hour: &[u8]) {
    let found = known.find_all([(item, TYPE)].into_iter())[0];
    let mut bytes = Vec::new();
    write_row(&mut bytes, row);
    known.learn(found, &record(item, &bytes, hour));
}

fn record<'a>(item: &'a str, total: &'a [u8], hour: &'a [u8]) -> Record<'a> {
    Record { item: item.as_bytes(), event_type: TYPE.as_bytes(), total, hour }
}

fn get<'a>(known: &'a KnownRows, item: &str) -> Known<'a> {
    known.get(known.find_all([(item, TYPE)].into_iter())[0])
}

#[test]
fn what_was_learned_last_is_known() {
    let mut known = KnownRows::new(1 << 20, 7, true);
    assert_eq!(get(&known, "a"), Known::Nothing);
    learn(&mut known, "a", &total(1), b"hour");
    learn(&mut known, "b", &total(2), b"");
    learn(&mut known, "a", &total(3), b"another");
    assert_eq!(get(&known, "a"), Known::Rows { total: total(3), hour: b"another" });
    assert_eq!(get(&known, "b"), Known::Rows { total: total(2), hour: b"" });
    assert_eq!(get(&known, "c"), Known::Nothing);
    learn(&mut known, "b", &total(4), &[1; HOUR_BYTES_MAX + 1]);
    let without_hour = Known::Rows { total: total(4), hour: b"" };
    assert_eq!(get(&known, "b"), without_hour, "hours are bounded");
    known.forget();
    assert_eq!(get(&known, "a"), Known::Unknown, "the store may have it");
    learn(&mut known, "a", &total(5), b"");
    assert_eq!(get(&known, "a"), Known::Rows { total: total(5), hour: b"" });
}

#[test]
fn who_began_with_a_filled_store_asks_for_what_was_not_learned() {
    let mut known = KnownRows::new(1 << 20, 7, false);
    learn(&mut known, "a", &total(1), b"");
    assert_eq!(get(&known, "b"), Known::Unknown);
}

#[test]
fn nothing_is_kept_where_there_is_no_room() {
    let mut known = KnownRows::new(0, 7, true);
    assert_eq!(get(&known, "a"), Known::Nothing);
    learn(&mut known, "a", &total(1), b"");
    assert_eq!(get(&known, "a"), Known::Unknown);
    assert!(known.segments.all.is_empty());
}

/// What cannot be kept takes what was known before with it.
#[test]
fn a_row_that_has_no_room_is_not_known_as_it_was() {
    let mut known = KnownRows::new(1 << 20, 7, true);
    learn(&mut known, "a", &total(1), b"");
    let found = known.find_all([("a", TYPE)].into_iter())[0];
    known.learn(found, &record("a", &[0; 1 << 17], b""));
    assert_eq!(get(&known, "a"), Known::Unknown);
    assert_eq!(get(&known, "b"), Known::Unknown);
}

#[test]
fn the_newest_stay_and_memory_is_bounded() {
    const BYTES: usize = 1 << 20;
    let mut known = KnownRows::new(BYTES, 7, true);
    let items: Vec<String> = (0..100_000).map(|n| format!("item-{n}")).collect();
    for item in &items {
        learn(&mut known, item, &total(1), b"hour");
        learn(&mut known, "often", &total(2), b"hour");
    }
    let segments: usize = known.segments.all.iter().map(Vec::capacity).sum();
    let index = known.index.allocation_size();
    assert!(segments + index <= BYTES + BYTES / 4, "{segments} bytes and {index} of the index");
    let is_known = |item: &&String| get(&known, item) != Known::Unknown;
    let kept = items.iter().filter(is_known).count();
    assert!((10_000..25_000).contains(&kept), "{kept}");
    assert!(items[items.len() - kept / 4..].iter().all(|item| is_known(&item)), "the newest");
    assert_eq!(get(&known, "often"), Known::Rows { total: total(2), hour: b"hour" });
    assert_eq!(get(&known, "never"), Known::Unknown, "as what has gone is");
}

#[test]
fn what_is_written_again_and_again_takes_the_room_of_one() {
    const BYTES: usize = 1 << 20;
    let mut known = KnownRows::new(BYTES, 7, true);
    let items: Vec<String> = (0..9_000).map(|n| format!("item-{n}")).collect();
    for round in 0..50 {
        // In another order every time.
        for n in 0..items.len() {
            learn(&mut known, &items[n * (2 * round + 7) % items.len()], &total(1), b"hour");
        }
    }
    assert!(known.is_full);
    assert!(items.iter().all(|item| matches!(get(&known, item), Known::Rows { .. })));
    assert_eq!(get(&known, "never"), Known::Nothing);
    let bytes: usize = known.segments.all.iter().map(Vec::capacity).sum();
    assert!(bytes + known.index.allocation_size() <= BYTES + BYTES / 4, "{bytes}");
    assert_eq!(known.index.len(), items.len());
}

/// As a reading finds it: the hour row is a total's too, so that what is too old is seen in both.
fn read_row_of((item, total): (&String, &StoredRow)) -> ReadRow {
    let hour = Some(total.clone());
    ReadRow { item: item.clone(), event_type: TYPE.into(), total: total.clone(), hour }
}

proptest! {
    /// Reading what the store had before makes nothing older known than what was written meanwhile, whenever it
    /// begins and however it goes on; and what is said not to be there is not there.
    #[test]
    fn reading_makes_nothing_old_known(
        bytes in prop_oneof![Just(8usize << 10), Just(20 << 10), Just(1 << 20)],
        stored in prop::collection::btree_set(0u16..400, 0..400),
        steps in prop::collection::vec(
            prop_oneof![
                (prop::collection::vec((0u16..400, prop_oneof![Just(0usize), 0..900usize]), 1..60))
                    .prop_map(Ok),
                (1usize..200).prop_map(Err),
            ],
            1..30,
        ),
    ) {
        let mut known = KnownRows::new(bytes, 7, false);
        let mut store: BTreeMap<String, StoredRow> =
            stored.into_iter().map(|item| (format!("i{item}"), total(1))).collect();
        let mut reading: Option<Vec<ReadRow>> = None;
        for (round, step) in (2..).zip(steps) {
            match step {
                Ok(items) => {
                    let rows: HashMap<String, usize> =
                        items.into_iter().map(|(item, len)| (format!("i{item}"), len)).collect();
                    let rows: Vec<_> = rows.into_iter().collect();
                    let found = known.find_all(rows.iter().map(|(item, _)| (item.as_str(), TYPE)));
                    for ((item, len), found) in rows.iter().zip(found) {
                        let mut bytes = Vec::new();
                        write_row(&mut bytes, &total(round));
                        let hour = if *len % 2 == 0 { bytes.clone() } else { Vec::new() };
                        known.learn(found, &record(item, &bytes, &hour));
                        store.insert(item.clone(), total(round));
                    }
                }
                Err(count) => {
                    if reading.is_none() && known.begin_reading() {
                        reading = Some(store.iter().map(read_row_of).collect());
                    }
                    if let Some(rows) = &mut reading {
                        let rest = rows.split_off(count.min(rows.len()));
                        let goes_on = known.read(rows);
                        if goes_on && rest.is_empty() {
                            known.end_reading();
                        }
                        reading = Some(rest).filter(|rest| goes_on && !rest.is_empty());
                    }
                }
            }
            for item in 0..400 {
                let item = format!("i{item}");
                match (get(&known, &item), store.get(&item)) {
                    (Known::Rows { total, hour }, Some(stored)) => {
                        prop_assert_eq!(&total, stored);
                        prop_assert!(hour.is_empty() || read_row(hour).unwrap() == *stored);
                    }
                    (Known::Nothing, None) | (Known::Unknown, _) => {}
                    (known, stored) => prop_assert!(false, "{known:?} of {stored:?}"),
                }
            }
        }
        if bytes == 1 << 20 && reading.is_none() && known.begin_reading() {
            let rows: Vec<_> = store.iter().map(read_row_of).collect();
            prop_assert!(known.read(&rows));
            known.end_reading();
            prop_assert!(store.keys().all(|item| get(&known, item) != Known::Unknown));
            prop_assert_eq!(get(&known, "never"), Known::Nothing);
        }
    }

    /// What is known is never anything but what was learned last, however little room there is and however many
    /// are learned at once.
    #[test]
    fn nothing_old_is_known(
        bytes in prop_oneof![Just(8usize << 10), Just(20 << 10), Just(90 << 10), Just(1 << 20)],
        rounds in prop::collection::vec(
            prop::collection::vec((0u16..300, prop_oneof![Just(0usize), 0..900usize]), 1..200),
            1..20,
        ),
    ) {
        let mut known = KnownRows::new(bytes, 7, true);
        let mut last: HashMap<String, (StoredRow, Vec<u8>)> = HashMap::new();
        for (round, items) in rounds.into_iter().enumerate() {
            let rows: HashMap<String, usize> =
                items.into_iter().map(|(item, len)| (format!("i{item}"), len)).collect();
            let rows: Vec<_> = rows.into_iter().collect();
            // All are looked for before any is learned, as a flush does.
            let found = known.find_all(rows.iter().map(|(item, _)| (item.as_str(), TYPE)));
            for ((item, len), found) in rows.iter().zip(found) {
                let (row, hour) = (total(round as u64), vec![round as u8; *len]);
                let mut bytes = Vec::new();
                write_row(&mut bytes, &row);
                known.learn(found, &record(item, &bytes, &hour));
                last.insert(item.clone(), (row, hour));
            }
            for item in 0..300 {
                let item = format!("i{item}");
                match (get(&known, &item), last.get(&item)) {
                    (Known::Rows { total, hour }, Some((last, last_hour))) => {
                        prop_assert_eq!(&total, last);
                        prop_assert_eq!(hour, &last_hour[..]);
                    }
                    (Known::Nothing, None) | (Known::Unknown, _) => {}
                    (known, last) => prop_assert!(false, "{known:?} of {last:?}"),
                }
            }
        }
        prop_assert!(known.index.len() <= last.len());
        if bytes == 1 << 20 {
            prop_assert!(last.keys().all(|item| get(&known, item) != Known::Unknown));
        }
    }
}
