use super::super::counter_store;
use super::*;

fn write(store: &MemStore, next: u64) -> Result<(), PortError> {
    let checkpoint = Checkpoint { next_offset: Offset(next), ..Checkpoint::default() };
    let flush = Flush {
        partition: PartitionId(0),
        dead_letters: &[],
        sources: &[],
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    store.flush(&flush, &mut std::iter::empty())
}

#[test]
fn behaves_as_a_counter_store() {
    counter_store::all(|| Arc::new(MemStore::new()));
    let store = MemStore::new();
    counter_store::keeps_all(|| Arc::new(store.clone()));
    counter_store::ownership::moves(|| {
        let store = MemStore::new();
        [Arc::new(store.another()), Arc::new(store)]
    });
}

#[test]
fn a_flush_that_failed_half_way_is_repeated() {
    let (row, checkpoint) = (StoredRow::default(), Checkpoint::default());
    let checkpoint = |next| Checkpoint { next_offset: Offset(next), ..checkpoint };
    let write = |store: &MemStore, next| {
        let flush = Flush {
            partition: PartitionId(0),
            dead_letters: &[],
            sources: &[],
            bulk: &[],
            repairs: &[],
            checkpoint: checkpoint(next),
        };
        let keys = ["a", "b"].map(|item| RowKey::Total { item, event_type: "view" });
        let mut row = row.clone();
        row.stamp.next_offset = Offset(next);
        let rows = keys.map(|key| Ok(CounterRow { key, row: row.clone() }));
        store.flush(&flush, &mut rows.into_iter())
    };
    let store = MemStore::new();
    let stamps = || {
        let keys = ["a", "b"].map(|item| RowKey::Total { item, event_type: "view" });
        let rows = store.snapshot().unwrap().get(PartitionId(0), &keys).unwrap();
        rows.into_iter().map(|row| row.map_or(0, |row| row.stamp.next_offset.0)).collect()
    };
    write(&store, 1).expect("a flush");
    store.fail_flush(0, FlushFailure::Partly(0b10));
    assert_eq!(write(&store, 3).unwrap_err().kind, ErrorKind::Unavailable);
    let seen: Vec<u64> = stamps();
    assert_eq!(seen, [1, 3]);
    let next = store.another();
    let claim = next.claim(PartitionId(0)).expect("a claim");
    assert_eq!((claim.checkpoint, claim.begun), (Some(checkpoint(1)), Some(Offset(3))));
    assert_eq!(write(&next, 4).unwrap_err().kind, ErrorKind::Conflict, "not what was begun");
    assert_eq!(write(&store, 3).unwrap_err().kind, ErrorKind::Conflict, "the owner of before");
    write(&next, 3).expect("what was begun");
    write(&next, 5).expect("the next one");
    store.deliver_late();
    let seen: Vec<u64> = stamps();
    assert_eq!(seen, [5, 5]);
    assert_eq!(next.claim(PartitionId(0)).expect("a claim").begun, None);
}

#[test]
fn fails_as_ordered() {
    let store = MemStore::new();
    store.fail_flush(1, FlushFailure::Before);
    store.fail_flush(3, FlushFailure::After);
    write(&store, 1).expect("the first is skipped");
    assert_eq!(write(&store, 2).unwrap_err().kind, ErrorKind::Unavailable);
    write(&store, 2).expect("nothing was written before");
    assert_eq!(write(&store, 3).unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(write(&store, 3).unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(store.flushes(), 5);
}
