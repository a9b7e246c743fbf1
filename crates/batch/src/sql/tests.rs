mod items;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use futures::future::BoxFuture;

use super::*;
use crate::files::Archive;

/// 2026-11-22T05:00:00Z.
const HOUR_MS: i64 = 1_795_323_600_000;

#[derive(Default)]
struct Memory(BTreeMap<String, Bytes>);

impl Archive for Memory {
    fn raw_names(&self) -> Result<Vec<String>, crate::Error> {
        Ok(self.0.keys().filter(|name| name.starts_with("raw/")).cloned().collect())
    }

    fn bytes(&self, name: &str) -> Result<Bytes, crate::Error> {
        let bytes = self.0.get(name).cloned();
        bytes.ok_or_else(|| crate::Error::Archive(format!("{name} has gone").into()))
    }
}

impl ArchiveFiles for Memory {
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, crate::Error> {
        let below = self.0.iter().filter(|(name, _)| name.starts_with(folder));
        Ok(below.map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn bytes_if_there(&self, name: &str) -> Result<Option<Bytes>, crate::Error> {
        Ok(self.0.get(name).cloned())
    }

    fn size(&self, name: &str) -> Result<Option<u64>, crate::Error> {
        Ok(self.0.get(name).map(|bytes| bytes.len() as u64))
    }

    fn range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, crate::Error> {
        let part = |bytes: &Bytes| bytes.slice(range.start as usize..range.end as usize);
        Ok(self.0.get(name).map(part))
    }
}

/// A server that says the same to everybody, and remembers what it was asked.
#[derive(Default)]
struct Says {
    lines: String,
    cold_until: String,
    asked: Mutex<Vec<CounterFilter>>,
    items: String,
    asked_items: Mutex<Vec<ItemFilter>>,
}

impl ItemDetailsLines for Says {
    fn fetch<'a>(
        &'a self,
        filter: &'a ItemFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<(), SourceError>> {
        Box::pin(async move {
            self.asked_items.lock().unwrap().push(filter.clone());
            Ok(into.write_all(self.items.as_bytes())?)
        })
    }
}

impl HotCounters for Says {
    fn fetch<'a>(
        &'a self,
        filter: &'a CounterFilter,
        into: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<HotHead, SourceError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(filter.clone());
            into.write_all(self.lines.as_bytes())?;
            Ok(HotHead { cold_until: self.cold_until.clone() })
        })
    }
}

/// A raw event: offset, append minute of the hour, id, item, source and sequence.
type Sent<'a> = (i64, i64, &'a str, &'a str, Option<(&'a str, i64)>);

/// A raw file as the archiver writes it.
fn raw_file(archive: &mut Memory, offsets: Range<u64>, controls: &str, events: &[Sent<'_>]) {
    let schema = Arc::new(Schema::new(events::file_fields()));
    let rows = events.len();
    let text = |of: &dyn Fn(&Sent<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from(events.iter().map(of).collect::<Vec<_>>()))
    };
    let times = |of: &dyn Fn(&Sent<'_>) -> i64| -> ArrayRef {
        let times: Vec<i64> = events.iter().map(of).collect();
        Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))
    };
    let numbers = |of: &dyn Fn(&Sent<'_>) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from(events.iter().map(of).collect::<Vec<_>>()))
    };
    let values = Decimal128Array::from(vec![1_500_000; rows]).with_data_type(events::VALUE);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![3; rows])),
        numbers(&|event| Some(event.0)),
        times(&|event| HOUR_MS + event.1 * 60_000),
        text(&|event| Some(event.2.to_owned())),
        text(&|event| Some(event.3.to_owned())),
        text(&|_| Some("view".to_owned())),
        times(&|_| HOUR_MS),
        Arc::new(values),
        text(&|_| None),
        text(&|event| event.4.map(|(source, _)| source.to_owned())),
        numbers(&|event| event.4.map(|(_, sequence)| sequence)),
    ];
    let pair = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![
        pair("tally.format", "1"),
        pair("tally.window_minutes", "10"),
        pair("tally.controls", controls),
        pair("tally.dead_letters", "[]"),
    ]));
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties.build())).unwrap();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.close().unwrap();
    let name =
        format!("raw/date=2026-11-22/hour=05/p3-{:020}-{:020}.parquet", offsets.start, offsets.end);
    archive.0.insert(name, bytes.into());
}

/// A cold file with one counter a day: as many events as the day's number in the file.
fn cold_file(archive: &mut Memory, name: &str, first: i32, days: i32) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("type", DataType::Utf8, false),
        Field::new("item", DataType::Utf8, false),
        Field::new("day", DataType::Date32, false),
        Field::new("count", DataType::Int64, false),
        Field::new("value_count", DataType::Int64, false),
        Field::new("sum", counters::SUM, true),
        Field::new("min", counters::BOUND, true),
        Field::new("max", counters::BOUND, true),
    ]));
    let rows = days as usize;
    let decimals = |of: &DataType| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![Some(-1); rows]).with_data_type(of.clone()))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["view"; rows])),
        Arc::new(StringArray::from(vec!["a"; rows])),
        Arc::new(Date32Array::from((first..first + days).collect::<Vec<_>>())),
        Arc::new(Int64Array::from((1..=i64::from(days)).collect::<Vec<_>>())),
        Arc::new(Int64Array::from(vec![1; rows])),
        decimals(&counters::SUM),
        decimals(&counters::BOUND),
        decimals(&counters::BOUND),
    ];
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), None).unwrap();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.close().unwrap();
    archive.0.insert(format!("counters/{name}.parquet"), bytes.into());
}

fn line(item: &str, granularity: &str, time: &str, count: u64) -> String {
    format!(
        "{{\"item\":\"{item}\",\"type\":\"view\",\"granularity\":\"{granularity}\",\"time\":\"{time}\",\
         \"count\":{count},\"value_count\":1,\"sum\":0.000003,\"min\":-1,\"max\":2.5}}\n"
    )
}

fn ask_within(
    archive: Memory,
    server: &Arc<Says>,
    memory: usize,
    question: &str,
) -> Result<Vec<String>, SqlError> {
    let files = Arc::new(archive);
    let sources = Sources { files, counters: server.clone(), items: server.clone() };
    let limits = Limits { memory_bytes: memory, temp_dir: std::env::temp_dir(), threads: 2 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut rows = Database::open(&sources, &limits).await?.query(question).await?;
        let mut found = Vec::new();
        while let Some(page) = rows.next().await? {
            page.for_each(|cells| {
                let cells = cells.iter().map(|cell| cell.as_deref().unwrap_or("null"));
                found.push(cells.collect::<Vec<_>>().join(" "));
                Ok::<_, SqlError>(())
            })?;
        }
        Ok(found)
    })
}

fn ask(archive: Memory, server: &Arc<Says>, question: &str) -> Result<Vec<String>, SqlError> {
    ask_within(archive, server, 256 << 20, question)
}

fn nobody() -> Arc<Says> {
    Arc::new(Says { cold_until: "1970-01-01".into(), ..Says::default() })
}

/// Repeats by id, within the window and behind it, by source, and behind a longer window.
fn sent() -> Memory {
    let mut archive = Memory::default();
    let first = [
        (1, 0, "x", "a", None),
        (2, 10, "x", "a", None),
        (3, 10, "x", "b", None),
        (4, 11, "s1", "a", Some(("s", 7))),
        (5, 12, "s2", "a", Some(("s", 8))),
    ];
    raw_file(
        &mut archive,
        0..6,
        r#"[{"offset":0,"append_time":1795323600000,"hex":"010a000000"}]"#,
        &first,
    );
    let second = [
        (6, 21, "x", "a", None),
        (7, 40, "s9", "a", Some(("s", 8))),
        // The window is an hour from offset 8 on, and forgets nothing later.
        (9, 45, "y", "a", None),
        (10, 59, "y", "a", None),
    ];
    raw_file(
        &mut archive,
        6..11,
        r#"[{"offset":8,"append_time":1795326000000,"hex":"013c000000"}]"#,
        &second,
    );
    archive
}

#[test]
fn events_have_repeats_and_events_once_has_none() {
    let ask = |question: &str| ask(sent(), &nobody(), question).unwrap();
    assert_eq!(ask("select count(*), sum(value) from events"), ["9 13.500000"]);
    let once = ask("select \"offset\", item from events_once order by 1");
    assert_eq!(once, ["1 a", "3 b", "4 a", "5 a", "6 a", "9 a"]);
    let all = ask("select * from events_once where \"offset\" = 4");
    let expected = "3 4 2026-11-22T05:11:00Z s1 a view 2026-11-22T05:00:00Z 1.500000 null s 7 \
                    2026-11-22 5";
    assert_eq!(all, [expected]);
    assert_eq!(ask("select * from events where \"offset\" = 4"), [expected]);
    assert_eq!(
        ask("select count(*) from events_once where date = '2026-11-22' and hour = 5"),
        ["6"]
    );
    assert_eq!(ask("select count(*) from events where date < '2026-11-22'"), ["0"]);
    let columns = "select column_name from information_schema.columns where table_name = ";
    assert_eq!(ask(&format!("{columns}'events'")), ask(&format!("{columns}'events_once'")));
}

#[test]
fn what_was_refused_for_its_time_is_no_repeat_when_it_comes() {
    let of = |sequence| Some(("s", sequence));
    // Sequences 3 and 4 of `s` were refused before 5 came; 2 was not.
    let controls = r#"[{"offset":0,"append_time":1795323600000,"hex":"010a000000"},
        {"offset":1,"append_time":1795323600000,"hex":"0601730301"}]"#;
    let events = [
        (2, 0, "five", "a", of(5)),
        (3, 1, "three", "a", of(3)),
        (4, 2, "three again", "a", of(3)),
        (5, 3, "two", "a", of(2)),
        (6, 4, "four", "a", of(4)),
    ];
    let mut archive = Memory::default();
    raw_file(&mut archive, 0..7, controls, &events);
    let once = ask(archive, &nobody(), "select id from events_once order by \"offset\"").unwrap();
    assert_eq!(once, ["five", "three", "four"]);
}

#[test]
fn an_empty_archive_has_no_events() {
    for table in ["events", "events_once", "counters", "items"] {
        let question = format!("select count(*) from {table}");
        assert_eq!(ask(Memory::default(), &nobody(), &question).unwrap(), ["0"], "{table}");
    }
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let question = "select count(*) from events_once";
    let failed = |change: &dyn Fn(&mut Memory)| {
        let mut archive = sent();
        change(&mut archive);
        ask(archive, &nobody(), question).expect_err("it cannot be judged").to_string()
    };
    let gap = failed(&|archive| raw_file(archive, 20..21, "[]", &[(20, 59, "z", "a", None)]));
    assert!(gap.contains("offsets 11 to 20 are missing"), "{gap}");
    let few = failed(&|archive| raw_file(archive, 11..21, "[]", &[(20, 59, "z", "a", None)]));
    assert!(few.contains("is damaged"), "{few}");
    let torn = failed(&|archive| {
        let bytes = archive.0.values_mut().next().unwrap();
        *bytes = bytes.slice(..bytes.len() - 9);
    });
    assert!(torn.contains("is damaged"), "{torn}");
    let control = r#"[{"offset":11,"append_time":1795326000000,"hex":"ff"}]"#;
    let unknown = failed(&|archive| raw_file(archive, 11..12, control, &[]));
    assert!(unknown.contains("cannot be read"), "{unknown}");
}

/// The server has all from 2026-05-03 on and what came late before; the files have more days.
fn seam() -> (Memory, Arc<Says>) {
    let mut archive = Memory::default();
    let first = cold::day("2026-05-01").unwrap();
    cold_file(&mut archive, "month-2026-05", first, 4);
    cold_file(&mut archive, "left-over", first, 4);
    let manifest = "tally counters 1\nuntil 2026-05-05\n\
                    file month-2026-05 2026-05-01 2026-05-05 9\nend\n";
    archive.0.insert("counters/manifest".into(), manifest.into());
    let lines = [
        line("a", "day", "2026-05-02T00:00:00Z", 100),
        line("a", "hour", "2026-05-03T00:00:00Z", 1_000),
        line("a", "minute", "2026-11-22T05:00:00Z", 10_000),
        line("a", "minute", "2026-11-22T05:00:00Z", 20_000),
        line("b", "minute", "2026-11-22T05:00:00Z", 7),
    ];
    let server = Says { lines: lines.concat(), cold_until: "2026-05-03".into(), ..Says::default() };
    (archive, Arc::new(server))
}

#[test]
fn counters_are_hot_and_cold_without_a_day_twice() {
    let ask = |question: &str| {
        let (archive, server) = seam();
        ask(archive, &server, question).unwrap()
    };
    assert_eq!(ask("select sum(count) from counters where item = 'a'"), ["31103"]);
    let rows = ask(
        "select granularity, time, count, sum, min, max from counters where item = 'a' order by time",
    );
    let expected = [
        "day 2026-05-01T00:00:00Z 1 -0.000001 -0.000001 -0.000001",
        "day 2026-05-02T00:00:00Z 102 0.000002 -1.000000 2.500000",
        "hour 2026-05-03T00:00:00Z 1000 0.000003 -1.000000 2.500000",
        "minute 2026-11-22T05:00:00Z 30000 0.000006 -1.000000 2.500000",
    ];
    assert_eq!(rows, expected);
    assert_eq!(ask("select count(*) from counter_parts"), ["7"]);
    assert_eq!(ask("select sum(count) from counters where time >= '2026-05-02'"), ["31109"]);
    assert_eq!(
        ask(
            "select sum(a.count) from counters a join counters b on a.item = b.item and a.time = b.time"
        ),
        ["31110"]
    );
}

#[test]
fn the_server_is_asked_for_no_more_than_is_wanted() {
    let asked = |filter: &str| {
        let (archive, server) = seam();
        ask(archive, &server, &format!("select count(*) from counters where {filter}")).unwrap();
        let asked = server.asked.lock().unwrap().clone();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.into_iter().next().unwrap()
    };
    let all = CounterFilter::default();
    let (item, event_type) = (Some("a".to_owned()), Some("view".to_owned()));
    let both = CounterFilter { item: item.clone(), event_type, ..all.clone() };
    assert_eq!(asked("item = 'a' and 'view' = type"), both);
    let (start_ms, end_ms) = (Some(HOUR_MS), Some(HOUR_MS + 60_000));
    let range = CounterFilter { start_ms, end_ms, ..all.clone() };
    let minute = "time >= '2026-11-22T05:00:00Z' and time < '2026-11-22T05:01:00Z'";
    assert_eq!(asked(minute), range);
    for other in [
        "item = 'a' or item = 'b'",
        "item = ''",
        "type = 'View'",
        "time > '2027-01-01' and time < '2026-01-01'",
        "time >= '1900-01-01'",
        "count = 3",
    ] {
        assert_eq!(asked(other), all, "{other}");
    }
}

#[test]
fn an_archive_that_lacks_days_is_refused() {
    let question = "select count(*) from counters";
    let (_, server) = seam();
    let none = ask(Memory::default(), &server, question).expect_err("it has no manifest");
    assert!(none.to_string().contains("before 2026-05-03"), "{none}");
    let (mut archive, _) = seam();
    let early = "tally counters 1\nuntil 2026-05-02\nend\n";
    archive.0.insert("counters/manifest".into(), early.into());
    let early = ask(archive, &server, question).expect_err("it ends too early");
    assert!(early.to_string().contains("--archive"), "{early}");
    let (mut archive, _) = seam();
    archive.0.remove("counters/month-2026-05.parquet");
    let gone = ask(archive, &server, question).expect_err("a file has gone");
    assert!(matches!(gone, SqlError::Replaced(_)), "{gone:?}");
    let wrong = Says { lines: "{}\n".into(), cold_until: "1970-01-01".into(), ..Says::default() };
    let wrong = ask(Memory::default(), &Arc::new(wrong), question).expect_err("no counter");
    assert!(wrong.to_string().contains("is no counter"), "{wrong}");
}

#[test]
fn only_questions_are_answered() {
    for change in [
        "create table t as select 1",
        "create view v as select 1",
        "drop table events",
        "insert into events select * from events",
        "copy events to '/nowhere/x.parquet' stored as parquet",
        "explain analyze copy events to '/nowhere/x.parquet' stored as parquet",
        "set datafusion.execution.batch_size = 1",
    ] {
        let refused = ask(sent(), &nobody(), change).expect_err(change);
        assert!(matches!(refused, SqlError::Changes), "{change}: {refused:?}");
    }
    for wrong in ["selec 1", "select x from events", "select 1; select 2", ""] {
        let refused = ask(sent(), &nobody(), wrong).expect_err(wrong);
        assert!(matches!(refused, SqlError::Query(_)), "{wrong}: {refused:?}");
    }
}

/// More groups and rows than fit in memory go to files, and come out right.
#[test]
fn what_does_not_fit_in_memory_goes_to_files() {
    let rows = 200_000u64;
    let names = (0..rows).map(|n| format!("an item with a rather long name, number {n:>08}"));
    let lines: String =
        names.map(|name| line(&name, "minute", "2026-11-22T05:00:00Z", 1)).collect();
    let server = Arc::new(Says { lines, cold_until: "1970-01-01".into(), ..Says::default() });
    let within = |question: &str| ask_within(Memory::default(), &server, 24 << 20, question);
    let found = within("select count(*), sum(count) from counters").unwrap();
    assert_eq!(found, [format!("{rows} {rows}")]);
    let sorted = within("select item from counter_parts order by item desc").unwrap();
    assert_eq!(sorted.len() as u64, rows);
    assert!(sorted.is_sorted_by(|a, b| a > b));
    let refused = ask_within(
        Memory::default(),
        &server,
        1 << 10,
        "select item from counter_parts order by item",
    );
    assert!(matches!(refused, Err(SqlError::Memory(_))), "{refused:?}");
}
