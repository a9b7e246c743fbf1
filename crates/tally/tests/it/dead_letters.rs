//! Records that nobody can read, in the middle of a log: they stop nothing, are listed with the
//! reason, and each is counted once or dropped, as somebody decides.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use adapters::embedded::disk::RealDisk;
use adapters::embedded::log::{EmbeddedLog, LogSettings, stored_partitions};
use engine::ports::{AppendPart, Clock, EventLog};
use futures::executor::block_on;
use model::append_time::ClockReading;
use model::{Event, PartitionId, RecordBuf, RoutingTable, TimestampMs};
use serde_json::{Value, json};

use super::{Answer, Tally};

/// As [`Tally::start`] has it.
const PARTITIONS: u16 = 2;
/// Letters are seen once they are flushed.
const FLUSH: [&str; 2] = ["--flush-interval", "100ms"];

const JSON: &str = "content-type: application/json\r\n";

struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the log's append times are those of now")]
    fn now(&self) -> ClockReading {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let ms = since.expect("after 1970").as_millis() as i64;
        ClockReading { wall: TimestampMs(ms), monotonic_ms: ms }
    }
}

fn partition_of(item: &str) -> PartitionId {
    RoutingTable::first(PARTITIONS).route_first(item)
}

/// Appends records to the partition of an item while no server runs: the bytes as they are, with an
/// event of the item behind each.
pub(super) fn append(data_dir: &Path, item: &str, poison: &[Vec<u8>]) {
    let disk = Arc::new(RealDisk);
    let dir = data_dir.join("log");
    let partitions = stored_partitions(&RealDisk, &dir).expect("readable").expect("a log");
    let settings = LogSettings::new(partitions);
    let log = EmbeddedLog::open(disk, &dir, &settings, Arc::new(WallClock), &[]);
    let log = log.expect("the log opens");
    let mut records = RecordBuf::new();
    for (n, record) in poison.iter().enumerate() {
        records.push_encoded(record);
        records.push(&event(item, &format!("behind-{n}")));
    }
    let part = AppendPart { partition: partition_of(item), records, is_control: false };
    let results = block_on(log.append(vec![part]).expect("taken"));
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

fn event<'a>(item: &'a str, id: &'a str) -> Event<'a> {
    Event {
        id: id.into(),
        item: item.into(),
        event_type: "view".into(),
        time: WallClock.now().wall,
        value: None,
        attributes: Vec::new(),
    }
}

/// A whole record but for its item, which is not UTF-8.
fn with_bad_text(item: &str, id: &str) -> Vec<u8> {
    let mut records = RecordBuf::new();
    records.push(&event(item, id));
    let split = model::record::split(records.payload()).next();
    let mut record = split.expect("a record").expect("whole").to_vec();
    let at = record.windows(item.len()).position(|bytes| bytes == item.as_bytes());
    record[at.expect("the item is in it")] = 0xff;
    record
}

/// A record that breaks a rule but whose fields can all be read.
pub(super) fn with_bad_rule(id: &str) -> Vec<u8> {
    let mut records = RecordBuf::new();
    records.push(&Event { event_type: "NOT A TYPE".into(), ..event("shown", id) });
    let split = model::record::split(records.payload()).next();
    split.expect("a record").expect("whole").to_vec()
}

fn cli(tally: &Tally, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally"))
        .arg("dead-letters")
        .args(args)
        .args(["--url", &format!("http://{}", tally.addr)])
        .output()
        .expect("the binary starts")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn delete(tally: &Tally, path: &str) -> Answer {
    tally.raw(format!("DELETE {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes())
}

fn listed(tally: &Tally, query: &str) -> Value {
    tally.get(&format!("/v1/admin/dead-letters?{query}")).json()
}

#[test]
fn a_poison_record_stops_nothing_and_is_counted_once_or_dropped() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &FLUSH);
    assert_eq!(tally.send_json(&json!([{"item": "first"}])).status, 202);
    assert_eq!(tally.stop(), Some(0));
    let poison = [
        with_bad_text("poisoned", "bad-1"),
        b"\xff\xff".to_vec(),
        with_bad_rule("bad-3"),
        Vec::new(),
    ];
    append(dir.path(), "a", &poison);

    let tally = Tally::start(dir.path(), &FLUSH);
    tally.wait_until("counted behind the poison", || tally.count("a") == 4);
    let all = || listed(&tally, "")["dead_letters"].as_array().expect("letters").clone();
    tally.wait_until("flushed", || all().len() == 4);
    let letters = all();
    let place = |n: usize| format!("{}/{}", letters[n]["partition"], letters[n]["offset"]);
    let path = |n: usize| format!("/v1/admin/dead-letters/{}", place(n));
    for (letter, record) in letters.iter().zip(&poison) {
        assert_eq!(letter["partition"], partition_of("a").0);
        assert_eq!((&letter["state"], &letter["replay"]), (&json!("open"), &Value::Null));
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(letter["record"], hex);
    }
    assert!(letters[0]["reason"].as_str().expect("a reason").contains("UTF-8"));
    assert_eq!((&letters[0]["id"], &letters[0]["item"]), (&json!("bad-1"), &Value::Null));
    let shown = tally.get(&path(2)).json();
    assert_eq!((&shown["item"], &shown["type"]), (&json!("shown"), &json!("NOT A TYPE")));
    assert_eq!(shown, letters[2]);

    // Pages: from each `next` to the one after it.
    let (mut from, mut pages) = (String::new(), Vec::new());
    loop {
        let page = listed(&tally, &format!("limit=3{from}"));
        pages.extend(page["dead_letters"].as_array().expect("letters").clone());
        let Some(next) = page["next"].as_str() else { break };
        from = format!("&from={next}");
    }
    assert_eq!(pages, letters);

    // As it is it cannot be counted; corrected it is, once.
    let replay =
        |n: usize, body: &str| tally.post(&format!("{}/replay", path(n)), JSON, body.as_bytes());
    let unreadable = replay(0, "");
    assert_eq!((unreadable.status, unreadable.code().as_str()), (422, "unreadable_record"));
    assert_eq!(replay(0, "{").code(), "invalid_json");
    assert_eq!(replay(0, r#"{"type":"view"}"#).code(), "invalid_item");
    assert_eq!(replay(0, r#"{"item":"a","time":0}"#).code(), "event_too_old");
    let corrected = r#"{"item":"mended","value":2.5}"#;
    let done = replay(0, corrected);
    assert_eq!(done.status, 202, "{}", String::from_utf8_lossy(&done.body));
    assert!(done.head.contains("tally-durability: fsync"), "{}", done.head);
    assert_eq!(done.json()["state"], "replayed");
    assert_eq!(done.json()["replay"]["time"], letters[0]["append_time"]);
    for body in [corrected, r#"{"item":"other"}"#, r#"{"item":"mended","id":"mine"}"#] {
        let again = replay(0, body);
        assert_eq!((again.status, again.code().as_str()), (409, "already_replayed"));
        assert!(again.head.contains("application/problem+json"), "{}", again.head);
    }
    tally.wait_until("counted", || tally.count("mended") == 1);
    assert_eq!(delete(&tally, &path(0)).code(), "already_replayed");
    settle_the_rest(&tally, &place, &path);
    assert_eq!(tally.stop(), Some(0));

    // All of it is kept.
    let tally = Tally::start(dir.path(), &FLUSH);
    let states: Vec<Value> = listed(&tally, "")["dead_letters"]
        .as_array()
        .expect("letters")
        .iter()
        .map(|letter| letter["state"].clone())
        .collect();
    assert_eq!(states, ["replayed", "dropped", "replayed", "open"]);
    assert_eq!((tally.count("a"), tally.count("mended"), tally.count("shown")), (4, 1, 1));
}

/// The second letter is dropped, the third replayed from the command line, the last stays.
fn settle_the_rest(tally: &Tally, place: &dyn Fn(usize) -> String, path: &dyn Fn(usize) -> String) {
    for _ in 0..2 {
        let dropped = delete(tally, &path(1));
        assert_eq!((dropped.status, &dropped.json()["state"]), (200, &json!("dropped")));
    }
    let late = tally.post(&format!("{}/replay", path(1)), JSON, br#"{"item":"never"}"#);
    assert_eq!((late.status, late.code().as_str()), (409, "already_dropped"));

    let event = r#"{"item":"shown","type":"view"}"#;
    let replayed = cli(tally, &["replay", &place(2), "--event", event, "--json"]);
    assert_eq!(lines(&replayed)[0]["replay"]["item"], "shown");
    assert_eq!(cli(tally, &["replay", &place(2)]).status.code(), Some(1));
    tally.wait_until("counted", || tally.count("shown") == 1);
    let shown = cli(tally, &["show", &place(2)]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("replayed since") && shown.contains("NOT A TYPE"), "{shown}");
    let open = lines(&cli(tally, &["list", "--open", "--json"]));
    assert_eq!(open.iter().map(|letter| &letter["state"]).collect::<Vec<_>>(), ["open"]);
    let table = cli(tally, &["list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains(&place(3)));
    // What is left cannot be read as it is.
    let all = cli(tally, &["replay", "--all"]);
    assert_eq!(all.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&all.stdout).contains("0 replayed"));
    let dropped = cli(tally, &["drop", &place(1)]);
    assert!(String::from_utf8_lossy(&dropped.stdout).contains("dropped"));
}

#[test]
fn wrong_places_and_parameters_are_problems() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let list = "/v1/admin/dead-letters";
    for (path, status, code) in [
        (format!("{list}?from=1"), 400, "invalid_parameter"),
        (format!("{list}?limit=0"), 400, "invalid_parameter"),
        (format!("{list}?partition=x"), 400, "invalid_parameter"),
        (format!("{list}/0/x"), 400, "invalid_parameter"),
        (format!("{list}/0/1?x=1"), 400, "invalid_parameter"),
        (format!("{list}/0/1"), 404, "not_found"),
        (format!("{list}/65535/1"), 404, "not_found"),
        (format!("{list}/0/1/replay"), 405, "method_not_allowed"),
    ] {
        let answer = tally.get(&path);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
    }
    let replay = format!("{list}/0/1/replay");
    assert_eq!(tally.post(&replay, JSON, br#"{"item":"a"}"#).code(), "not_found");
    assert_eq!(delete(&tally, &format!("{list}/9/1")).code(), "not_found");
    assert_eq!(listed(&tally, "partition=9"), json!({"dead_letters": []}));
    assert_eq!(cli(&tally, &["show", "nowhere"]).status.code(), Some(2));
    assert_eq!(cli(&tally, &["replay"]).status.code(), Some(2));
    assert_eq!(cli(&tally, &["replay", "0/1", "--event", "[]"]).status.code(), Some(2));
    assert_eq!(cli(&tally, &["show", "0/1"]).status.code(), Some(1));
}
