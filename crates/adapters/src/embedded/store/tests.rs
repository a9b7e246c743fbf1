use engine::conformance::counter_store;
use engine::ports::CounterRow;
use model::{Cell, Checkpoint, Hour, Stamp, StoredRow, Summary};

use super::*;

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, StoreSettings::default()).expect("the store opens")
}

/// Where flushes of so many changes become tables at once.
fn ingesting(folder: &Path, ingested_min: usize) -> EmbeddedStore {
    EmbeddedStore { ingested_min, ..open(folder) }
}

#[test]
fn behaves_as_a_counter_store() {
    let scratch = tempfile::tempdir().expect("a folder");
    for ingested_min in [tuning::INGESTED_MIN, 1, 3] {
        let folder = |name: &str| scratch.path().join(format!("{name}-{ingested_min}"));
        let mut number = 0;
        counter_store::all(|| {
            number += 1;
            Arc::new(ingesting(&folder(&number.to_string()), ingested_min))
        });
        counter_store::keeps_all(|| Arc::new(ingesting(&folder("kept"), ingested_min)));
    }
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
    let cases = [(&3u32.to_be_bytes()[..], "format 3"), (b"", odd), (b"\0\0\0\x01\0", odd)];
    for (stored, found) in cases {
        {
            let store = open(&folder);
            store.rows.insert(keys::FORMAT, stored).expect("a write");
            store.db.persist(PersistMode::SyncAll).expect("a sync");
        }
        let error = EmbeddedStore::open(&folder, StoreSettings::default()).err().expect("refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        let said = error.to_string();
        assert!(said.contains(found) && said.contains("this program knows only 2"), "{said}");
        assert!(said.contains(folder.to_str().expect("a path")), "{said}");
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}

/// Keys and values, in order.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn everything(rows: &Keyspace) -> Pairs {
    let pair = |guard: fjall::Guard| guard.into_inner().expect("a pair");
    rows.iter().map(pair).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// A store with something of each kind in three partitions, as a program of format 1 left it; gives what
/// it is to hold in this format.
fn of_format_1(folder: &Path) -> Pairs {
    let now = open(folder);
    for [high, low] in [0, 1, model::limits::PARTITIONS_MAX - 1].map(u16::to_be_bytes) {
        for (_, tag) in upgrade::TAGS {
            for rest in ["", "\0", "\0\0\0\x07view\0a", "\u{7f}"] {
                now.rows.insert([&[high, low, tag], rest.as_bytes()].concat(), [tag, low]).unwrap();
            }
        }
    }
    now.rows.insert(keys::COLD_UNTIL, [0, 0, 0, 3]).unwrap();
    now.rows.insert(keys::bulk(model::BulkId(7)), b"an object").unwrap();
    let all = everything(&now.rows);
    let before = now.db.keyspace(upgrade::KEYSPACE, tuning::keyspace).unwrap();
    for (key, value) in &all {
        let before_tag = |tag| upgrade::TAGS.iter().find(|(_, now)| *now == tag).unwrap().0;
        match key[..] {
            [b'F'] => before.insert(key, upgrade::FORMAT_VERSION.to_be_bytes()).unwrap(),
            [b'A' | b'B', ..] => before.insert(key, value).unwrap(),
            [high, low, tag, ref rest @ ..] => {
                let head = [before_tag(tag), high, low];
                before.insert([&head, rest].concat(), value).unwrap();
            }
            _ => unreachable!("{key:?}"),
        }
    }
    now.db.delete_keyspace(now.rows.clone()).unwrap();
    now.db.persist(PersistMode::SyncAll).unwrap();
    all
}

/// The store's pairs where it is opened without a look at what the checkpoints say.
fn brought_up_to_date(folder: &Path) -> Result<Pairs, PortError> {
    let (db, rows) = open_database(folder, StoreSettings::default()).expect("it opens");
    upgrade::upgrade(&db, &rows, folder)?;
    assert!(!db.keyspace_exists(upgrade::KEYSPACE), "it went");
    Ok(everything(&rows))
}

#[test]
fn a_store_of_format_1_is_brought_up_to_date() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    let all = of_format_1(&folder);
    assert_eq!(brought_up_to_date(&folder).unwrap(), all);
    assert_eq!(brought_up_to_date(&folder).unwrap(), all, "a second start finds the same");
    // A start that broke off before it removed the other, which an older program may have touched since.
    let (db, _) = open_database(&folder, StoreSettings::default()).expect("it opens");
    let before = db.keyspace(upgrade::KEYSPACE, tuning::keyspace).unwrap();
    before.insert(keys::FORMAT, upgrade::FORMAT_VERSION.to_be_bytes()).unwrap();
    drop((before, db));
    assert_eq!(brought_up_to_date(&folder).unwrap(), all);
}

#[test]
fn a_store_before_this_format_that_is_odd_stays_as_it_is() {
    let scratch = tempfile::tempdir().expect("a folder");
    let cases = [
        (&keys::FORMAT[..], &9u32.to_be_bytes()[..], ErrorKind::Invalid, "format 9"),
        (b"Z\0\0", b"", ErrorKind::Corrupt, "not of its format"),
        (b"T\xff\xff", b"", ErrorKind::Corrupt, "not of its format"),
    ];
    for (number, (key, value, kind, said)) in cases.into_iter().enumerate() {
        let folder = scratch.path().join(number.to_string());
        of_format_1(&folder);
        let before = |folder: &Path| {
            let (db, rows) = open_database(folder, StoreSettings::default()).expect("it opens");
            let before = db.keyspace(upgrade::KEYSPACE, tuning::keyspace).unwrap();
            (db, rows, before)
        };
        let (db, _, rows) = before(&folder);
        rows.insert(key, value).unwrap();
        let stored = everything(&rows);
        drop((db, rows));
        for _ in 0..2 {
            let error = brought_up_to_date(&folder).expect_err("it is refused");
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
        let (_db, now, rows) = before(&folder);
        assert_eq!(everything(&rows), stored);
        assert_eq!(everything(&now), []);
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
    open(&folder).rows.insert(b"\0\0Ta\0view", b"\xff").expect("a write");
    let store = open(&folder);
    let key = RowKey::Total { item: "a", event_type: "view" };
    let snapshot = store.snapshot().expect("a snapshot");
    let error = snapshot.get(PartitionId(0), &[key]).expect_err("it is damaged");
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.to_string().contains(r"\x00\x00Ta\x00view"), "{error}");
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
    let scratch = tempfile::tempdir().expect("a folder");
    see_whole_flushes(&open(&scratch.path().join("store")), |_| 4_000);
    // Every third is small enough for the journal.
    let store = ingesting(&scratch.path().join("ingesting"), 1_000);
    see_whole_flushes(&store, |flush| if flush % 3 == 0 { 500 } else { 4_000 });
}

fn see_whole_flushes(store: &EmbeddedStore, items_of: impl Fn(u64) -> usize + Sync) {
    const ITEMS: u64 = 4_000;
    let items: Vec<String> = (0..ITEMS).map(|n| format!("item-{n:04}")).collect();
    let keys: Vec<RowKey<'_>> =
        items.iter().map(|item| RowKey::Total { item, event_type: "view" }).collect();
    // The first is in every flush, and both in all large ones.
    let ends = [keys[0], keys[499]];
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for flush in 1..=20 {
                store.rows.rotate_memtable().expect("a rotation");
                flush_all(store, &keys[..items_of(flush)], flush);
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

/// The items of flush number `flush`, which gives each of them its count.
fn items_of(flush: u64) -> std::ops::Range<u64> {
    let from = flush * 7 % 50;
    from..from + if flush.is_multiple_of(2) { 3 } else { 200 }
}

fn item(n: u64) -> String {
    format!("item-{n:03}")
}

fn flush_items(store: &EmbeddedStore, flush: u64) {
    let items: Vec<String> = items_of(flush).map(item).collect();
    let key = |item| RowKey::Total { item, event_type: "view" };
    let keys: Vec<RowKey<'_>> = items.iter().map(|item| key(item)).collect();
    flush_all(store, &keys, flush);
}

/// What is stored is all of the flushes up to one, and nothing else; which.
fn check_items(store: &EmbeddedStore) -> u64 {
    let snapshot = store.snapshot().expect("a snapshot");
    let stored = snapshot.checkpoint(PartitionId(0)).expect("an answer");
    let last = stored.map_or(0, |checkpoint| checkpoint.next_offset.0);
    let items: Vec<String> = (0..250).map(item).collect();
    let key = |item| RowKey::Total { item, event_type: "view" };
    let keys: Vec<RowKey<'_>> = items.iter().map(|item| key(item)).collect();
    let rows = snapshot.get(PartitionId(0), &keys).expect("rows");
    for (n, row) in (0..).zip(rows) {
        let expected = (1..=last).rev().find(|flush| items_of(*flush).contains(&n));
        let count = row.map(|row| row.summary().count);
        assert_eq!(count, expected, "item {n} after flush {last}");
    }
    last
}

#[test]
fn flushes_by_either_way_follow_each_other_and_a_restart() {
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    for round in 0..4 {
        let store = ingesting(&folder, 100);
        assert_eq!(check_items(&store), round * 20);
        let before = store.snapshot().expect("a snapshot");
        for flush in round * 20 + 1..=round * 20 + 20 {
            flush_items(&store, flush);
            if flush % 5 == round {
                store.rows.rotate_memtable().expect("a rotation");
            }
            assert_eq!(check_items(&store), flush);
        }
        let stored = before.checkpoint(PartitionId(0)).expect("an answer");
        assert_eq!(stored.map_or(0, |c| c.next_offset.0), round * 20, "a snapshot stays as it was");
    }
}

/// Names the folder that the process of the next test writes to.
const KILLED_FOLDER: &str = "TALLY_TEST_KILLED_STORE";

#[test]
fn a_store_whose_process_is_killed_has_whole_flushes_and_all_that_returned() {
    use std::io::{BufRead, BufReader};
    if let Some(folder) = std::env::var_os(KILLED_FOLDER) {
        let store = ingesting(Path::new(&folder), 100);
        let first = check_items(&store) + 1;
        for flush in first.. {
            flush_items(&store, flush);
            println!("\nflushed {flush}");
        }
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let folder = scratch.path().join("store");
    let mut last = 0;
    for round in 0..6 {
        let mut writer = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "--nocapture"])
            .arg("embedded::store::tests::a_store_whose_process_is_killed_has_whole_flushes_and_all_that_returned")
            .env(KILLED_FOLDER, &folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(writer.stdout.take().expect("its output")).lines();
        let told = lines
            .filter_map(|line| line.expect("a line").strip_prefix("flushed ")?.parse::<u64>().ok());
        let told = told.take(10 + 13 * round).last().expect("it flushes");
        writer.kill().expect("it is killed");
        writer.wait().expect("it ends");
        let stored = check_items(&ingesting(&folder, 100));
        assert!(stored >= told && told > last, "{stored} {told} {last}");
        last = stored;
    }
}

#[test]
fn journals_are_let_go_however_little_is_in_a_memtable() {
    let scratch = tempfile::tempdir().expect("a folder");
    let store = ingesting(&scratch.path().join("store"), 100);
    // The journal is compressed, and this is not to be.
    let mixed = (0..1u64 << 20).map(|n| n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let record: Vec<u8> =
        mixed.flat_map(|n| (n ^ n >> 31).wrapping_mul(n | 1).to_le_bytes()).collect();
    for flush in 1..60 {
        if flush % 2 == 1 {
            flush_items(&store, flush);
            continue;
        }
        let checkpoint =
            Checkpoint { log_epoch: 1, next_offset: Offset(flush), ..Checkpoint::default() };
        let letter = model::DeadLetter {
            offset: Offset(flush),
            append_time: model::TimestampMs(5),
            reason: model::record::RecordError::Length,
            record: record.clone(),
        };
        let flush = Flush {
            partition: PartitionId(0),
            dead_letters: &[letter],
            sources: &[],
            bulk: &[],
            repairs: &[],
            checkpoint,
        };
        store.flush(&flush, &mut std::iter::empty()).expect("a flush");
    }
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.db.journal_disk_space().expect("a size") > 2 * tuning::JOURNAL_BYTES {
        assert!(std::time::Instant::now() < until, "{:?}", store.db.journal_disk_space());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
