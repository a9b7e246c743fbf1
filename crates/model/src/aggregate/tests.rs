use proptest::prelude::*;

use super::*;
use crate::bucket::{Day, Hour, Minute};
use crate::horizon::Horizons;
use crate::slot::SlotPlace;

/// Minutes up to 4999: the first day counts as a whole, and the hours up to the 40th.
fn horizons() -> Horizons {
    Horizons::new(Hour(40), Day(1)).unwrap()
}

type Events = Vec<(String, String, u32, Option<i64>)>;

fn events() -> impl Strategy<Value = Events> {
    let event = (
        "[ab]{1,10}",
        "[xy]",
        prop_oneof![Just(100u32), 0u32..50, 0u32..5_000],
        // The sum of two of the largest needs more than 64 bits.
        proptest::option::of(prop_oneof![-1_000i64..1_000, Just(9_000_000_000_000_000_000)]),
    );
    proptest::collection::vec(event, 0..400)
}

fn table<'a>(events: &'a Events) -> MemoryTable {
    let mut table = MemoryTable::new(Offset(5), 7);
    let event = |(item, event_type, minute, value): &'a (String, String, u32, Option<i64>)| {
        let value = value.map(|micros| Value::from_micros(micros).unwrap());
        CountedEvent { item, event_type, slot: horizons().slot(Minute(*minute)), value }
    };
    let events: Vec<_> = events.iter().map(event).collect();
    // As many as are counted together: items are new in the same chunk and in an earlier one.
    for events in events.chunks(50) {
        let places = table.find_all(events);
        table.count_all(events, &places);
    }
    table
}

fn expected(events: &Events, mut wanted: impl FnMut(&str, &str, u32) -> bool) -> Summary {
    let mut total = Summary::EMPTY;
    for (item, event_type, minute, value) in events {
        if wanted(item, event_type, *minute) {
            total.add(&Summary::of(value.map(|micros| Value::from_micros(micros).unwrap())));
        }
    }
    total
}

proptest! {
    #[test]
    fn a_range_of_an_item_is_the_sum_of_its_events(events in events(), start in 0u32..5_000, len in 0u32..5_000) {
        let table = table(&events);
        let range = horizons().round(TimeRange { start: Minute(start), end: Minute(start + len) });
        for item in ["a", "b", "ab"] {
            let sum = expected(&events, |i, t, m| i == item && t == "x" && range.contains(Minute(m)));
            prop_assert_eq!(table.summary(item, "x", range), sum);
        }
        let mut by_item = Summary::EMPTY;
        table.for_each_item_slot("y", range, |_, _, summary| by_item.add(summary));
        prop_assert_eq!(by_item, expected(&events, |_, t, m| t == "y" && range.contains(Minute(m))));
    }

    #[test]
    fn sorted_holds_every_event_once_in_key_order(events in events()) {
        let table = table(&events);
        let sorted = table.sorted();
        let totals = sorted.totals(0..sorted.totals_len());
        let hours = sorted.hours(0..sorted.hours_len());
        let days = sorted.days(0..sorted.days_len());
        let keys: Vec<_> = totals.iter().map(|t| (t.item, t.event_type)).collect();
        prop_assert!(keys.is_sorted_by(|a, b| a < b));
        for total in &totals {
            let sum = expected(&events, |i, t, _| i == total.item && t == total.event_type);
            prop_assert_eq!(total.summary, sum);
            let of_item = hours.iter().filter(|row| row.item == total.item);
            let newest = of_item.filter(|row| row.event_type == total.event_type).map(|row| row.hour).max();
            prop_assert_eq!(total.newest_hour, newest);
        }
        let of_total = |total: usize| (totals[total].item, totals[total].event_type);
        let mut slots = 0;
        let keys: Vec<_> = hours.iter().map(|row| (row.hour, row.event_type, row.item)).collect();
        prop_assert!(keys.is_sorted_by(|a, b| a < b));
        let mut written: Vec<_> = hours.iter().map(|row| (row.hour, row.event_type)).collect();
        written.dedup();
        prop_assert_eq!(sorted.written(), &written[..]);
        prop_assert_eq!(sorted.hours(1.min(hours.len())..hours.len()), &hours[1.min(hours.len())..]);
        for row in &hours {
            prop_assert_eq!((row.item, row.event_type), of_total(row.total));
            prop_assert!(row.cells.is_sorted_by(|a, b| a.slot < b.slot));
            slots += row.cells.len();
            for cell in &row.cells {
                let place = SlotPlace::Hour(row.hour, cell.slot);
                let sum = expected(&events, |i, t, m| {
                    i == row.item && t == row.event_type && horizons().slot(Minute(m)).place() == place
                });
                prop_assert_eq!(&cell.summary, &sum);
            }
        }
        let keys: Vec<_> = days.iter().map(|row| (row.day, row.event_type, row.item)).collect();
        prop_assert!(keys.is_sorted_by(|a, b| a < b));
        for row in &days {
            prop_assert_eq!((row.item, row.event_type), of_total(row.total));
            slots += 1;
            let sum = expected(&events, |i, t, m| {
                i == row.item && t == row.event_type
                    && horizons().slot(Minute(m)).place() == SlotPlace::Day(row.day)
            });
            prop_assert_eq!(row.summary, sum);
        }
        prop_assert_eq!(slots, table.cells());
    }
}
