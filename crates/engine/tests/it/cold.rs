//! When days become cold.

use engine::cold::settle;
use engine::conformance::mem_cold::MemCold;
use engine::conformance::mem_store::MemStore;
use engine::ports::{ColdCounters, CounterRow, CounterStore, Flush};
use model::{Cell, Checkpoint, Day, Horizons, Hour, Offset, PartitionId, RowKey, StoredRow};

const PARTITION: PartitionId = PartitionId(0);

/// Writes an hour row, by a checkpoint whose horizon is day 10.
fn write(store: &dyn CounterStore, hour: u32, next_offset: u64) {
    let horizons = Horizons::new(Hour(240), Day(10)).unwrap();
    let checkpoint =
        Checkpoint { next_offset: Offset(next_offset), horizons, ..Checkpoint::default() };
    let flush = Flush {
        partition: PARTITION,
        dead_letters: &[],
        sources: &[],
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    let stamp = model::Stamp { next_offset: Offset(next_offset), ..model::Stamp::default() };
    let cell = Cell { slot: 7, summary: model::Summary { count: 1, ..model::Summary::EMPTY } };
    let key = RowKey::Hour { hour: Hour(hour), event_type: "view", item: "a" };
    let row = CounterRow { key, row: StoredRow::begin(stamp, vec![cell]) };
    store.flush(&flush, &mut std::iter::once(Ok(row))).unwrap();
}

/// Recounts check totals by their hours as long as no hours are cold, so an empty past is not.
#[test]
fn a_store_that_never_had_an_old_day_has_no_cold_ones() {
    let (store, cold) = (MemStore::default(), MemCold::default());
    let settle = || {
        settle(&store, &cold, 1, &|| false).unwrap();
        (store.snapshot().unwrap().cold_until().unwrap(), cold.until().unwrap())
    };
    write(&store, 240, 1);
    assert_eq!(settle(), (Day(0), Day(0)));
    write(&store, 239, 2);
    assert_eq!(settle(), (Day(10), Day(10)));
    assert_eq!(store.snapshot().unwrap().hours(PARTITION, 0..1_000).unwrap(), [Hour(240)]);
}
