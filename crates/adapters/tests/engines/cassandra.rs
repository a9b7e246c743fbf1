//! The counter store on Cassandra.

use std::sync::Arc;
use std::time::Duration;

use adapters::cassandra::{CassandraStore, Place, Replication};
use engine::conformance::counter_store;
use engine::ports::{Claim, CounterRow, CounterStore, ErrorKind, Flush, PortError};
use model::{
    Cell, Checkpoint, Day, Hour, Offset, PartitionId, RowKey, SourceMark, SourceState, Stamp,
    StoredRow, Summary, TimestampMs,
};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use tokio::runtime::Runtime;

use super::named;

const P0: PartitionId = PartitionId(0);
const TABLES: [&str; 11] = [
    "owners",
    "totals",
    "item_hours",
    "hours",
    "days",
    "filled",
    "dead_letters",
    "letter_states",
    "sources",
    "bulk",
    "repairs",
];

/// The cluster as somebody else sees it.
struct Outside {
    runtime: Runtime,
    session: Session,
    keyspace: &'static str,
}

impl Outside {
    /// A keyspace with tables.
    fn with_tables(keyspace: &'static str) -> Self {
        let outside = Self::of(keyspace);
        CassandraStore::init(outside.place(), &Replication::Anywhere(1)).expect("tables");
        outside
    }

    fn of(keyspace: &'static str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let place = named("TALLY_TEST_CASSANDRA");
        let (user, node) = place.split_once('@').expect("user:password@host:port");
        let (user, password) = user.split_once(':').expect("user:password");
        let builder = SessionBuilder::new().known_node(node).user(user, password);
        let session = runtime.block_on(builder.build());
        let outside = Self { runtime, session: session.expect("a node"), keyspace };
        outside.run("DROP KEYSPACE IF EXISTS {}");
        outside
    }

    fn place(&self) -> Place {
        let node = named("TALLY_TEST_CASSANDRA");
        // One node that is busy compacting tables may be slow.
        format!("cassandra://{node}/{}?timeout_ms=60000", self.keyspace).parse().expect("a place")
    }

    fn run(&self, text: &str) {
        let text = text.replace("{}", self.keyspace);
        self.runtime.block_on(self.session.query_unpaged(text, &[])).expect("a statement");
    }

    fn number(&self, text: &str) -> i64 {
        let text = text.replace("{}", self.keyspace);
        let answer = self.runtime.block_on(self.session.query_unpaged(text, &[]));
        let rows = answer.expect("an answer").into_rows_result().expect("rows");
        rows.single_row::<(i64,)>().expect("one number").0
    }

    /// Another process on the same tables.
    fn open(&self) -> CassandraStore {
        CassandraStore::open(self.place(), rand()).expect("a store").with_cold_grace(Duration::ZERO)
    }

    fn empty(&self) -> CassandraStore {
        TABLES.iter().for_each(|table| self.run(&format!("TRUNCATE {{}}.{table}")));
        self.open()
    }
}

/// Another number each time.
fn rand() -> u128 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    u128::from(std::process::id()) << 64 | u128::from(next)
}

#[test]
fn behaves_as_a_store_over_many_machines() {
    let outside = Outside::with_tables("conformance");
    counter_store::row_by_row(|| Arc::new(outside.empty()));
    drop(outside.empty());
    counter_store::keeps_all(|| Arc::new(outside.open()));
    counter_store::ownership::moves(|| [Arc::new(outside.empty()), Arc::new(outside.open())]);
}

fn checkpoint(next: u64) -> Checkpoint {
    Checkpoint { log_epoch: 1, next_offset: Offset(next), ..Checkpoint::default() }
}

fn row(next: u64, slots: &[u8]) -> StoredRow {
    let summary = Summary { count: next, ..Summary::EMPTY };
    let cells = slots.iter().map(|slot| Cell { slot: *slot, summary }).collect();
    let (base_offset, next_offset) = (Offset(0), Offset(next));
    StoredRow { stamp: Stamp { log_epoch: 1, base_offset, next_offset }, cells, newest_hour: None }
}

fn source(sequence: i64) -> SourceMark {
    let (append_time, since) = (TimestampMs(5), Offset(0));
    let refused = Arc::default();
    let state = SourceState { sequence, append_time, since, refused };
    SourceMark { source: "s".into(), state: Some(state) }
}

/// Flushes totals of these items; ends with an error behind so many of them.
fn flush(
    store: &CassandraStore,
    next: u64,
    items: &[String],
    fails_behind: Option<usize>,
) -> Result<(), PortError> {
    let flush = Flush {
        partition: P0,
        dead_letters: &[],
        sources: &[source(next as i64)],
        bulk: &[],
        repairs: &[],
        checkpoint: checkpoint(next),
    };
    let rows = items.iter().enumerate().map(|(at, item)| {
        if fails_behind == Some(at) {
            return Err(PortError::new(ErrorKind::Unavailable, "it ends here"));
        }
        Ok(CounterRow { key: RowKey::Total { item, event_type: "view" }, row: row(next, &[60]) })
    });
    store.flush(&flush, &mut { rows })
}

fn stamps(store: &CassandraStore, items: &[String]) -> Vec<u64> {
    let keys: Vec<_> =
        items.iter().map(|item| RowKey::Total { item, event_type: "view" }).collect();
    let rows = store.snapshot().unwrap().get(P0, &keys).expect("rows");
    rows.into_iter().map(|row| row.map_or(0, |row| row.stamp.next_offset.0)).collect()
}

#[test]
fn a_flush_that_ends_half_way_is_finished_by_the_next_owner() {
    let outside = Outside::with_tables("half_way");
    let one = outside.empty();
    let items: Vec<String> = (0..2_500).map(|n| format!("item-{n:04}")).collect();
    flush(&one, 5, &items, None).expect("a flush");
    let error = flush(&one, 9, &items, Some(1_500)).expect_err("it fails half way");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let written = stamps(&one, &items).iter().filter(|next| **next == 9).count();
    assert!(0 < written && written < items.len(), "{written} rows are written");

    let two = outside.open();
    let claimed = two.claim(P0).expect("a claim");
    assert_eq!(claimed, Claim { checkpoint: Some(checkpoint(5)), begun: Some(Offset(9)) });
    let seen = two.snapshot().unwrap();
    let sources = seen.sources(P0).expect("sources");
    assert_eq!(sources[0].1.sequence, 5, "sources are of the checkpoint");
    for (store, next) in [(&two, 8), (&two, 10), (&one, 9)] {
        let error = flush(store, next, &items, None).expect_err("not what was begun, or not mine");
        assert_eq!(error.kind, ErrorKind::Conflict);
    }
    assert_eq!(seen.checkpoint(P0).unwrap(), Some(checkpoint(5)));
    flush(&two, 9, &items, None).expect("what was begun");
    flush(&two, 12, &items, None).expect("and the next");
    assert!(stamps(&two, &items).iter().all(|next| *next == 12));
    assert_eq!(two.snapshot().unwrap().sources(P0).unwrap()[0].1.sequence, 12);
    let kept = outside.number("SELECT count(*) FROM {}.sources WHERE log_partition = 0");
    assert_eq!(kept, 1, "older states are removed");
}

#[test]
fn a_write_of_before_loses_by_its_timestamp() {
    let outside = Outside::with_tables("late_writes");
    let store = outside.empty();
    let items = ["a".to_owned()];
    flush(&store, 5, &items, None).expect("a flush");
    let of = "FROM {}.totals WHERE log_partition = 0 AND item = 'a' ALLOW FILTERING";
    let before = outside.number(&format!("SELECT WRITETIME(counts) {of}"));
    flush(&store, 9, &items, None).expect("a flush");
    let after = outside.number(&format!("SELECT WRITETIME(counts) {of}"));
    assert_eq!(after - before, 4, "timestamps are places in the log");
    assert!(after < 0, "no clock is as early");
    let bucket = outside.runtime.block_on(async {
        let text = format!("SELECT bucket {of}").replace("{}", outside.keyspace);
        let rows = outside.session.query_unpaged(text, &[]).await.unwrap();
        rows.into_rows_result().unwrap().single_row::<(i32,)>().unwrap().0
    });
    outside.run(&format!(
        "INSERT INTO {{}}.totals (log_partition, bucket, item, event_type, counts)
         VALUES (0, {bucket}, 'a', 'view', 0xff) USING TIMESTAMP {before}"
    ));
    assert_eq!(stamps(&store, &items), [9]);
}

/// Flushes hour rows of an item and returns them.
fn flush_hours(store: &CassandraStore, next: u64, hours: &[u32], checkpoint: Checkpoint) {
    let flush = Flush {
        partition: P0,
        dead_letters: &[],
        sources: &[],
        bulk: &[],
        repairs: &[],
        checkpoint,
    };
    let key = |hour: &u32| RowKey::Hour { hour: Hour(*hour), event_type: "view", item: "a" };
    let rows = hours.iter().map(|hour| CounterRow { key: key(hour), row: row(next, &[3, 7]) });
    store.flush(&flush, &mut rows.map(Ok)).expect("a flush");
}

#[test]
fn hours_of_cold_days_are_removed_when_nobody_reads_them() {
    let outside = Outside::with_tables("cold_days");
    let store = outside.empty();
    flush_hours(&store, 5, &[3, 47, 48], checkpoint(5));
    assert!(store.remove_cold(P0, 9).expect("removed"), "no day is cold");
    store.note_cold(Day(2)).expect("noted");
    store.note_cold(Day(1)).expect("a day before changes nothing");
    let hours = |store: &CassandraStore| -> Vec<u32> {
        let mut found = Vec::new();
        let seen = store.snapshot().unwrap();
        assert_eq!(seen.cold_until().unwrap(), Day(2));
        seen.scan_item(P0, "a", "view", 0..99, &mut |hour, _| found.push(hour.0)).unwrap();
        found
    };
    let patient = CassandraStore::open(outside.place(), rand()).expect("a store");
    assert!(patient.remove_cold(P0, 9).expect("not yet"));
    assert_eq!(hours(&store), [3, 47, 48], "questions may read them still");
    let removed: Vec<bool> = (0..3).map(|_| store.remove_cold(P0, 1).expect("removed")).collect();
    assert_eq!(removed.last(), Some(&true), "{removed:?}");
    assert_eq!(hours(&store), [48]);
    assert_eq!(store.snapshot().unwrap().hours(P0, 0..99).unwrap(), [Hour(48)]);
}

#[test]
fn the_cluster_forgets_minutes_and_keeps_their_sum() {
    let outside = Outside::with_tables("minutes");
    let store = outside.empty();
    // Minutes of hour 10 are kept for an hour: with a day of slack they live for hours still.
    let retention = model::Retention::new(3_600_000, i64::MAX).expect("a retention");
    let append_time = TimestampMs(11 * 3_600_000);
    flush_hours(&store, 5, &[10], Checkpoint { retention, append_time, ..checkpoint(5) });
    for table in ["hours", "item_hours"] {
        let life = outside.runtime.block_on(async {
            let text = format!("SELECT TTL(minutes) FROM {}.{table}", outside.keyspace);
            let rows = outside.session.query_unpaged(text, &[]).await.unwrap();
            rows.into_rows_result().unwrap().single_row::<(i32,)>().unwrap().0
        });
        assert!((89_000..=90_000).contains(&life), "{life} s");
    }
    let read = || {
        let mut found = Vec::new();
        let seen = store.snapshot().unwrap();
        seen.scan_item(P0, "a", "view", 0..99, &mut |_, row| found.push(row)).unwrap();
        seen.scan_hour(P0, Hour(10), "view", &mut |_, row| found.push(row)).unwrap();
        let key = RowKey::Hour { hour: Hour(10), event_type: "view", item: "a" };
        found.extend(seen.get(P0, &[key]).unwrap().into_iter().flatten());
        found
    };
    assert_eq!(read(), vec![row(5, &[3, 7]); 3]);
    // As if the time had come.
    outside.run("UPDATE {}.hours SET minutes = null WHERE log_partition = 0 AND hour = 10 AND event_type = 'view' AND item = 'a'");
    outside.run("UPDATE {}.item_hours SET minutes = null WHERE item = 'a' AND event_type = 'view' AND period = 0 AND hour = 10 AND log_partition = 0");
    let mut folded = row(5, &[3, 7]);
    folded.fold();
    assert_eq!(read(), vec![folded; 3]);
}

#[test]
fn tables_are_made_once_and_known_by_their_version() {
    let outside = Outside::of("versions");
    let refused = |part: &str| {
        let error = CassandraStore::open(outside.place(), rand()).err().expect("it is refused");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused("tally store init");
    for _ in 0..2 {
        CassandraStore::init(outside.place(), &Replication::Anywhere(1)).expect("tables");
    }
    let store = outside.open();
    store.bind_log("one").expect("the first log");
    store.bind_log("one").expect("the same log");
    let other = store.bind_log("two").expect_err("another log");
    assert_eq!(other.kind, ErrorKind::Invalid);
    assert!(other.to_string().contains("keyspace of its own"), "{other}");
    outside.run("UPDATE {}.meta SET number = 9 WHERE name = 'schema_version'");
    refused("version 9");
    let error = CassandraStore::init(outside.place(), &Replication::Anywhere(1));
    assert_eq!(error.expect_err("another version").kind, ErrorKind::Invalid);
    let away = format!("cassandra://127.0.0.1:1/{}", outside.keyspace).parse().expect("a place");
    let error = CassandraStore::open(away, rand()).err().expect("nobody answers");
    assert_eq!(error.kind, ErrorKind::Unavailable);
}
