//! A data folder whose routing table has a second version, so that `log.meta` is of format 2: more partitions
//! than at first, a rule of each strategy that routes by more than the item, dead letters in every state, raw
//! files, what an audit found, and an end of the log that was not counted when the process was killed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Tally, bulk, dead_letters, routing};
use super::{FLAGS, keep, raise_parquet, raise_version, refuses_to_start, run, unpacked_of};

const FILE: &str = "data-2.tar.gz";
/// Raw files outlive the years.
const KEPT: [&str; 4] = ["--raw-retention", "40y", "--log-retention", "40y"];
const HOUR_MS: i64 = 3_600_000;
/// In the order of `GET /v1/admin/routing`.
const RULES: [(&str, &str); 3] =
    [("ads/", "dedicated"), ("hot", "spread"), ("quiet", "item_and_minute")];

fn post(tally: &Tally, path: &str, body: &Value) -> Value {
    let kind = "content-type: application/json\r\n";
    let answer = tally.post(path, kind, body.to_string().as_bytes());
    assert!(answer.status < 300, "{path}: {}", answer.json());
    answer.json()
}

/// So many events of an item that happen at the server's present time.
fn send(tally: &Tally, item: &str, ids: std::ops::Range<u32>) {
    let partitions = routing::partitions(tally);
    let now = partitions[0]["append_time"].as_str().expect("a time");
    let event = |n: u32| json!({"item": item, "id": format!("{item}-{n}"), "time": now});
    let events: Value = ids.clone().map(event).collect();
    assert_eq!(tally.send_json(&events).json()["accepted"], ids.len());
}

fn letters(tally: &Tally) -> Vec<Value> {
    let answer = tally.get("/v1/admin/dead-letters").json();
    answer["dead_letters"].as_array().expect("a list").clone()
}

fn raw_file(data: &Path) -> Option<PathBuf> {
    let entries = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let hours = entries(&data.join("archive/raw")).into_iter().flat_map(|day| entries(&day));
    hours.flat_map(|hour| entries(&hour)).find(|file| file.extension().is_some())
}

#[test]
#[ignore = "makes the folder of a new format; the others are never made anew"]
fn make() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (data, clock) = (scratch.path().join("data"), scratch.path().join("clock"));
    fs::create_dir(&data).expect("a folder");
    // Two hours ago at first: what was appended then is in raw files now.
    fs::write(&clock, (-2 * HOUR_MS).to_string()).expect("written");
    let flags = [&FLAGS[..], &KEPT, &["--drill-clock", clock.to_str().expect("a path")]].concat();
    let tally = Tally::start(&data, &flags);
    send(&tally, "hot", 0..20);
    assert_eq!(post(&tally, "/v1/admin/audits", &json!({}))["result"], "equal");
    let rules = json!({"partitions": 3, "rules": [
        {"item": "hot", "strategy": "spread", "over": 3},
        {"item": "quiet", "strategy": "item_and_minute"},
        {"prefix": "ads/", "strategy": "dedicated", "partitions": [3]},
    ]});
    assert_eq!(post(&tally, "/v1/admin/routing", &rules)["version"], 2);
    let bulk = b"{\"item\":\"file\"}\n{\"item\":\"file\",\"value\":2.5}\n";
    let submitted = bulk::submit(&tally, "", bulk::NDJSON, bulk);
    assert_eq!(bulk::settled(&tally, &submitted)["state"], "done");
    assert_eq!(tally.stop(), Some(0));
    let poison = ["one", "two", "three"].map(dead_letters::with_bad_rule);
    dead_letters::append(&data, "behind", &poison);
    let flushing = [&FLAGS[..], &KEPT, &["--flush-interval", "100ms"]].concat();
    let tally = Tally::start(&data, &flushing);
    tally.wait_until("flushed", || letters(&tally).len() == poison.len());
    let place = |n: usize| {
        let letter = &letters(&tally)[n];
        format!("/v1/admin/dead-letters/{}/{}", letter["partition"], letter["offset"])
    };
    post(&tally, &format!("{}/replay", place(0)), &json!({"item": "mended"}));
    let dropped = format!("DELETE {} HTTP/1.1\r\nhost: t\r\n\r\n", place(1));
    assert_eq!(tally.raw(dropped.as_bytes()).status, 200);
    send(&tally, "hot", 20..80);
    send(&tally, "ads/1", 0..5);
    bulk::wait_counted(&tally);
    tally.wait_until("archived", || raw_file(&data).is_some());
    assert_eq!(tally.stop(), Some(0));
    // This one flushes nothing before it is killed.
    let tally = Tally::start(&data, &[&FLAGS[..], &KEPT, &["--flush-interval", "10m"]].concat());
    send(&tally, "hot", 80..100);
    drop(tally);
    keep(scratch.path(), FILE, &["data"]);
}

#[test]
fn a_data_folder_of_format_2_is_read() {
    let scratch = unpacked_of(FILE);
    let data = scratch.path().join("data");
    let meta = fs::read(data.join("log/log.meta")).expect("the file");
    assert_eq!(meta[8..12], [2, 0, 4, 0], "format 2, four partitions");
    let verified = run(&["log", "verify", "--data-dir", data.to_str().expect("a path")]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let tally = Tally::start(&data, &[&FLAGS[..], &KEPT].concat());
    for (item, count) in [("hot", 100), ("ads%2F1", 5), ("file", 2), ("mended", 1), ("behind", 3)] {
        assert_eq!(tally.count(item), count, "{item}");
    }
    let table = tally.get("/v1/admin/routing").json();
    assert_eq!(
        (&table["version"], &table["partitions"], &table["log_partitions"]),
        (&json!(2), &json!(3), &json!(4)),
        "{table}"
    );
    let rules = table["rules"].as_array().expect("rules").iter();
    let rules: Vec<_> = rules
        .map(|rule| {
            let subject = rule["item"].as_str().or(rule["prefix"].as_str()).expect("a subject");
            (subject.to_owned(), rule["strategy"].as_str().expect("a strategy").to_owned())
        })
        .collect();
    let sorted = |mut rules: Vec<(String, String)>| {
        rules.sort();
        rules
    };
    let expected = RULES.map(|(subject, strategy)| (subject.to_owned(), strategy.to_owned()));
    assert_eq!(sorted(rules), sorted(expected.into()));
    let states: Vec<_> =
        letters(&tally).into_iter().map(|letter| letter["state"].clone()).collect();
    assert_eq!(states, ["replayed", "dropped", "open"]);
    let audits = tally.get("/v1/admin/audits").json();
    assert_eq!(audits["audits"][0]["result"], "equal", "{audits}");
    // What comes now goes where the second version says.
    assert_eq!(routing::spread_over(&tally, "hot"), 3);
    let counted = |n: usize| routing::partitions(&tally)[n]["counted"].as_u64().expect("a number");
    let alone = counted(3);
    send(&tally, "ads/2", 0..7);
    tally.wait_until("counted", || counted(3) == alone + 7);
    assert_eq!((tally.count("ads%2F2"), routing::spread_over(&tally, "ads%2F2")), (7, 1));
    assert_eq!(tally.stop(), Some(0));
}

#[test]
fn files_of_a_later_format_beside_the_second_stop_the_start() {
    let scratch = unpacked_of(FILE);
    let data = scratch.path().join("data");
    let table = data.join("log/routing.table");
    let length = fs::read(&table).expect("the file").len();
    refuses_to_start(&data, &raise_version(table, 2, length));
}

/// Raw files take part in nothing that a server counts or answers: it runs without what it cannot read, and
/// says so where it needs them.
#[test]
fn a_raw_file_of_a_later_format_is_named_by_the_recount() {
    let scratch = unpacked_of(FILE);
    let data = scratch.path().join("data");
    let raw = raise_parquet(raw_file(&data).expect("a raw file"), b'2');
    let before = fs::read(&raw).expect("the file");
    let tally = Tally::start(&data, &[&FLAGS[..], &KEPT].concat());
    let name = raw.file_name().and_then(|name| name.to_str()).expect("a name");
    let hour = json!({"start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"});
    let id = post(&tally, "/v1/admin/recounts", &hour)["id"].clone();
    let job = || tally.get(&format!("/v1/admin/recounts/{id}")).json();
    tally.wait_until("over", || job()["state"] != "running");
    let said = job().to_string();
    for words in ["failed", name, "format 2", "this program knows only 1"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(fs::read(&raw).expect("the file") == before, "it was changed");
}
