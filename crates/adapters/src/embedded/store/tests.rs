use engine::conformance::counter_store;
use model::{Cell, Checkpoint, Hour, Offset, PartitionId, Stamp, StoredRow, Summary};

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
    for stored in [&2u32.to_be_bytes()[..], b"", b"\0\0\0\x01\0"] {
        {
            let store = open(&folder);
            store.rows.insert(keys::FORMAT, stored).expect("a write");
            store.db.persist(PersistMode::SyncAll).expect("a sync");
        }
        let error = EmbeddedStore::open(&folder, StoreSettings::default()).err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
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
    let store = open(&scratch.path().join("store"));
    store.rows.insert(b"T\0\0a\0view", b"\xff").expect("a write");
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
    let flush = Flush { partition, rows: Vec::new(), dead_letters: &[], checkpoint };
    assert_eq!(store.flush(&flush).unwrap_err().kind, ErrorKind::Invalid);
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
