use engine::conformance::counter_store;
use engine::ports::CounterRow;
use model::{Cell, Checkpoint, Hour, Stamp, StoredRow, Summary};

use super::*;

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, StoreSettings::default()).expect("the store opens")
}

#[test]
fn behaves_as_a_counter_store() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut number = 0;
    counter_store::all(|| {
        number += 1;
        Arc::new(open(&scratch.path().join(number.to_string())))
    });
    counter_store::keeps_all(|| Arc::new(open(&scratch.path().join("kept"))));
}

#[test]
fn a_store_has_one_owner() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    let _owner = open(&folder);
    let error = EmbeddedStore::open(&folder, StoreSettings::default()).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
}

#[test]
fn an_unknown_format_is_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    let odd = "a format that is no number";
    let cases = [(&2u32.to_be_bytes()[..], "format 2"), (b"", odd), (b"\0\0\0\x01\0", odd)];
    for (stored, found) in cases {
        {
            let store = open(&folder);
            store.rows.insert(keys::FORMAT, stored).expect("a write");
            store.db.persist(PersistMode::SyncAll).expect("a sync");
        }
        let error = EmbeddedStore::open(&folder, StoreSettings::default()).err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        let said = error.to_string();
        assert!(said.contains(found) && said.contains("this program knows only 1"), "{said}");
        assert!(said.contains(folder.to_str().expect("a path")), "{said}");
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}

#[test]
fn a_store_left_half_made_is_made_again() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    let unfinished = scratch.path().join("store.unfinished");
    std::fs::create_dir_all(&unfinished).expect("a folder");
    std::fs::write(unfinished.join("lock"), b"").expect("a file");
    std::fs::create_dir_all(&folder).expect("an empty folder is as good as none");
    open(&folder);
    assert!(!unfinished.exists());
    open(&folder);
}

#[test]
fn damaged_values_are_named() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    open(&folder).rows.insert(b"T\0\0a\0view", b"\xff").expect("a write");
    let store = open(&folder);
    let key = RowKey::Total { item: "a", event_type: "view" };
    let snapshot = store.snapshot().expect("a snapshot");
    let error = snapshot.get(PartitionId(0), &[key]).expect_err("it is damaged");
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.to_string().contains(r"T\x00\x00a\x00view"), "{error}");
}

#[test]
fn partitions_beyond_the_limit_are_refused() {
    let scratch = tempfile::tempdir().expect("a folder");
    let store = open(&scratch.path().join("store"));
    let partition = PartitionId(model::limits::PARTITIONS_MAX);
    let checkpoint = Checkpoint::default();
    let flush =
        Flush { partition, dead_letters: &[], sources: &[], bulk: &[], repairs: &[], checkpoint };
    let flushed = store.flush(&flush, &mut std::iter::empty());
    assert_eq!(flushed.unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn a_row_of_one_event_is_small() {
    let mut row = StoredRow::default();
    let stamp =
        Stamp { log_epoch: 9, base_offset: Offset(0), next_offset: Offset(100_000_000_000) };
    let cell = Cell { slot: 30, summary: Summary::of(None) };
    row.advance(stamp, &[cell]);
    let mut bytes = Vec::new();
    row::write_row(&mut bytes, &row);
    assert_eq!(bytes.len(), 9);
    let mut key = Vec::new();
    let hour = RowKey::Hour { hour: Hour(0), event_type: "view", item: "item" };
    keys::row(&mut key, PartitionId(0), &hour);
    assert_eq!(key.len(), 7 + 4 + 1 + 4);
}

/// fjall makes everything visible that is under way whenever it writes a memtable out; a large
/// flush is under way for long. Each flush here overlaps with such a moment.
#[test]
fn snapshots_see_whole_flushes_while_memtables_are_written_out() {
    const ITEMS: u64 = 4_000;
    let scratch = tempfile::tempdir().expect("a folder");
    let store = open(&scratch.path().join("store"));
    let items: Vec<String> = (0..ITEMS).map(|n| format!("item-{n:04}")).collect();
    let keys: Vec<RowKey<'_>> =
        items.iter().map(|item| RowKey::Total { item, event_type: "view" }).collect();
    let ends = [&keys[..1], &keys[keys.len() - 1..]].concat();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for flush in 1..=20 {
                store.rows.rotate_memtable().expect("a rotation");
                flush_all(&store, &keys, flush);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let snapshot = store.snapshot().expect("a snapshot");
            let counted = || {
                let rows = snapshot.get(PartitionId(0), &ends).expect("rows");
                rows.iter().map(|row| row.as_ref().map_or(0, |r| r.summary().count)).collect()
            };
            let (before, again): (Vec<u64>, Vec<u64>) = (counted(), counted());
            let stored = snapshot.checkpoint(PartitionId(0)).expect("an answer");
            let flushes = stored.map_or(0, |c| c.next_offset.0);
            assert_eq!((before, again), (vec![flushes; 2], vec![flushes; 2]));
        }
    });
}

/// Flush number `flush` gives every item that count.
fn flush_all(store: &EmbeddedStore, keys: &[RowKey<'_>], flush: u64) {
    let next_offset = Offset(flush);
    let stamp = Stamp { log_epoch: 1, base_offset: Offset(0), next_offset };
    let summary = Summary { count: flush, ..Summary::EMPTY };
    let cells = vec![Cell { slot: Cell::WHOLE, summary }];
    let mut rows = keys
        .iter()
        .map(|key| CounterRow {
            key: *key,
            row: StoredRow { stamp, cells: cells.clone(), newest_hour: None },
        })
        .map(Ok);
    let checkpoint = Checkpoint { log_epoch: 1, next_offset, ..Checkpoint::default() };
    let flush = Flush {
        partition: PartitionId(0),
        dead_letters: &[],
        sources: &[],
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    store.flush(&flush, &mut rows).expect("a flush");
}
