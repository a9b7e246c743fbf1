//! Counting again: what was appended is what is stored; where a row is not, it is found, named,
//! corrected, and the correction can be taken back.

use std::path::Path;
use std::process::{Command, Output};

use adapters::embedded::store::{EmbeddedStore, StoreSettings};
use engine::ports::{CounterRow, CounterStore, Flush};
use model::{Cell, Hour, PartitionId, RoutingTable, RowKey, StoredRow, Summary, TimestampMs};
use serde_json::{Value, json};

use super::Tally;

/// As [`Tally::start`] has it.
const PARTITIONS: u16 = 2;
pub(super) const FLUSH: [&str; 2] = ["--flush-interval", "100ms"];
/// Some minutes ago, so that a running test does not cross an hour with events to come.
pub(super) const AGO_MS: i64 = 3 * 3_600_000;

pub(super) fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "events of a test are of now")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn partition_of(item: &str) -> PartitionId {
    RoutingTable::first(PARTITIONS).route_first(item)
}

/// Three items in three minutes, every fifth event sent twice.
pub(super) fn events(start: i64) -> Vec<Value> {
    let event = |n: i64| {
        let value = if n % 3 == 0 { Value::Null } else { json!(n as f64 / 8.0) };
        let time = start + (n % 3) * 60_000;
        let mut event = json!({ "id": format!("e{n}"), "item": format!("item-{}", n % 4),
            "type": "view", "time": time });
        if !value.is_null() {
            event["value"] = value;
        }
        event
    };
    (0..200).flat_map(|n| std::iter::repeat_n(event(n), if n % 5 == 0 { 2 } else { 1 })).collect()
}

/// Writes rows that no event made, as a bug or a bad disk would have.
pub(super) fn plant(
    data_dir: &Path,
    item: &str,
    hour: Hour,
    wrong: &mut dyn FnMut(&mut StoredRow),
) {
    let store = EmbeddedStore::open(&data_dir.join("store"), StoreSettings::default());
    let store = store.expect("the store opens");
    let partition = partition_of(item);
    let snapshot = store.snapshot().expect("a snapshot");
    let mut checkpoint = snapshot.checkpoint(partition).expect("read").expect("it has flushed");
    let total = RowKey::Total { item, event_type: "view" };
    let of_hour = RowKey::Hour { hour, event_type: "view", item };
    let rows = snapshot.get(partition, &[total, of_hour]).expect("read");
    // The next start's epoch: a flush that says nothing new otherwise.
    checkpoint.log_epoch += 1;
    let mut planted = [total, of_hour].into_iter().zip(rows).map(|(key, row)| {
        let mut row = row.expect("it is there");
        wrong(&mut row);
        Ok(CounterRow { key, row })
    });
    let flush =
        Flush { partition, dead_letters: &[], sources: &[], repairs: &[], bulk: &[], checkpoint };
    store.flush(&flush, &mut planted).expect("planted");
}

pub(super) fn recount(tally: &Tally, start: i64, flags: &[&str]) -> (Output, Value) {
    let (start, end) = ((start - 3_600_000).to_string(), (start + 2 * 3_600_000).to_string());
    let url = format!("http://{}", tally.addr);
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["recount", "--json", "--url", &url, "--start", &start, "--end", &end])
        .args(flags)
        .output()
        .expect("it runs");
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, answer)
}

fn manage(tally: &Tally, flags: &[&str]) -> (Output, Value) {
    let url = format!("http://{}", tally.addr);
    let output = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["recount", "--json", "--url", &url])
        .args(flags)
        .output()
        .expect("it runs");
    let answer = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, answer)
}

pub(super) fn add_to(row: &mut StoredRow, count: u64) {
    match row.cells.first_mut() {
        Some(cell) => cell.summary.count += count,
        None => unreachable!("the row has counted"),
    }
}

#[test]
fn a_wrong_row_is_found_named_repaired_and_taken_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = now_ms() - AGO_MS;
    let tally = Tally::start(dir.path(), &FLUSH);
    assert_eq!(tally.send_json(&json!(events(start))).status, 202);
    let (output, clean) = recount(&tally, start, &[]);
    assert_eq!(output.status.code(), Some(0), "{clean}");
    assert_eq!(clean["differences"], 0);
    assert_eq!((&clean["events"], &clean["repeats"]), (&json!(240), &json!(40)));
    assert_eq!(tally.count("item-1"), 50);
    assert_eq!(tally.stop(), Some(0));

    // A minute too many, with its total; a total alone.
    let hour = TimestampMs(start).minute().hour();
    let extra = |row: &mut StoredRow| add_to(row, 7);
    plant(dir.path(), "item-1", hour, &mut { extra });
    plant(dir.path(), "item-2", hour, &mut |row| {
        if row.cells[0].slot == Cell::WHOLE {
            row.cells[0].summary = Summary { count: 49, ..row.cells[0].summary };
        }
    });

    let tally = Tally::start(dir.path(), &FLUSH);
    assert_eq!((tally.count("item-1"), tally.count("item-2")), (57, 49));
    let (output, found) = recount(&tally, start, &[]);
    assert_eq!(output.status.code(), Some(1), "{found}");
    let mut named: Vec<_> = found["found"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| {
            let text = |name: &str| found[name].as_str().expect("a text").to_owned();
            let count = |name: &str| found[name]["count"].as_u64().expect("a count");
            (text("item"), text("granularity"), count("stored"), count("recounted"))
        })
        .collect();
    named.sort();
    let minute = named[0].clone();
    assert_eq!((minute.0.as_str(), minute.1.as_str()), ("item-1", "minute"));
    assert_eq!(minute.2, minute.3 + 7);
    let total = |item: &str, was, is| (item.to_owned(), "total".to_owned(), was, is);
    assert_eq!(named[1..], [total("item-1", 57, 50), total("item-2", 49, 50)]);

    // An event that comes between recount and repair is not lost to it.
    let late = json!({ "id": "late", "item": "item-1", "time": start, "value": 0.5 });
    assert_eq!(tally.send_json(&late).status, 202);
    let id = found["id"].as_u64().expect("a number");
    let repair = tally.post(&format!("/v1/admin/recounts/{id}/repair"), "", b"");
    assert_eq!((repair.status, &repair.json()["corrected"]), (200, &json!(3)));
    assert_eq!((tally.count("item-1"), tally.count("item-2")), (51, 50));
    let again = tally.post(&format!("/v1/admin/recounts/{id}/repair"), "", b"");
    assert_eq!((again.status, again.code()), (409, "conflict".into()));
    let (output, clean) = recount(&tally, start, &[]);
    assert_eq!(output.status.code(), Some(0), "{clean}");

    let explained = tally.get("/v1/items/item-1/explain").json();
    assert_eq!(
        (&explained["count"], &explained["corrections"][0]["count"]),
        (&json!(51), &json!(-7))
    );

    // What was replaced is kept, outlives a restart, and comes back when asked for.
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &FLUSH);
    assert_eq!((tally.count("item-1"), tally.count("item-2")), (51, 50));
    let (_, kept) = manage(&tally, &["--repairs"]);
    assert_eq!(kept["repairs"][0]["corrected"], 3);
    let generation = kept["repairs"][0]["generation"].to_string();
    let (output, _) = manage(&tally, &["--revert", &generation]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((tally.count("item-1"), tally.count("item-2")), (58, 49));

    let (output, repaired) = recount(&tally, start, &["--repair"]);
    assert_eq!(output.status.code(), Some(0), "{repaired}");
    assert_eq!((tally.count("item-1"), tally.count("item-2")), (51, 50));
    let generation = repaired["repair"]["generation"].to_string();
    let (output, _) = manage(&tally, &["--confirm", &generation]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (output, _) = manage(&tally, &["--revert", &generation]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("confirmed"), "{output:?}");
    let (_, clean) = recount(&tally, start, &[]);
    assert_eq!(clean["differences"], 0);

    // Every recount is an audit.
    let audits = tally.get("/v1/admin/audits?kind=recount").json();
    let results = audits["audits"].as_array().expect("a list").iter();
    let results: Vec<_> = results.map(|audit| (&audit["result"], &audit["drift"])).collect();
    let (equal, different) = (json!("equal"), json!("different"));
    let (none, eight) = (json!(0), json!(8));
    let expected = [&equal, &different, &equal, &different, &equal];
    assert_eq!(results.iter().map(|(result, _)| *result).collect::<Vec<_>>(), expected);
    assert_eq!((results[0].1, results[3].1), (&none, &eight));
}

#[test]
fn a_final_range_that_was_counted_again_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = now_ms() - AGO_MS;
    let flags = ["--flush-interval", "100ms"];
    let tally = Tally::start(dir.path(), &flags);
    assert_eq!(tally.send_json(&json!(events(start))).status, 202);
    assert_eq!(tally.stop(), Some(0));
    // From here on, events of an hour ago are refused.
    let tally = Tally::start(dir.path(), &[&flags[..], &["--max-event-age", "30m"]].concat());
    let end = start + 1_800_000;
    let status = |item: &str| {
        let path = format!("/v1/items/{item}/count?start={start}&end={end}");
        tally.get(&path).json()["status"].as_str().expect("a text").to_owned()
    };
    assert_eq!(status("item-1"), "final");
    assert_eq!(recount(&tally, start, &["--item", "item-1"]).0.status.code(), Some(0));
    assert_eq!((status("item-1"), status("item-2")), ("recounted".into(), "final".into()));
    let whole = tally.get("/v1/items/item-1/count").json();
    assert_eq!(whole["status"], "provisional");
}

#[test]
fn an_hour_that_is_over_is_counted_again_by_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = ["--flush-interval", "100ms", "--recount-interval", "1s"];
    let tally = Tally::start(dir.path(), &flags);
    let hour = now_ms() / 3_600_000 * 3_600_000;
    assert_eq!(tally.send_json(&json!(events(hour - 1_800_000))).status, 202);
    tally.wait_until("audited", || {
        let audits = tally.get("/v1/admin/audits?kind=recount").json();
        let newest = &audits["audits"][0];
        newest["result"] == "equal" && newest["expected"] == 200
    });
    let metrics = tally.get("/metrics");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("tally_audit_drift{kind=\"recount\"} 0"), "{text}");
}

#[test]
fn nonsense_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let start = |body: &str| {
        let json = "content-type: application/json\r\n";
        let answer = tally.post("/v1/admin/recounts", json, body.as_bytes());
        (answer.status, answer.code())
    };
    let code = |status, code: &str| (status, code.to_owned());
    assert_eq!(start("{"), code(400, "invalid_json"));
    assert_eq!(start(r#"{"start":0}"#), code(400, "invalid_json"));
    assert_eq!(start(r#"{"start":0,"end":1,"itm":"a"}"#), code(400, "invalid_json"));
    assert_eq!(start(r#"{"start":[],"end":1}"#), code(400, "invalid_parameter"));
    assert_eq!(start(r#"{"start":0,"end":1,"type":"A"}"#), code(422, "invalid_type"));
    assert_eq!(start(r#"{"start":5,"end":5}"#), code(422, "invalid_range"));
    for (path, method) in [
        ("/v1/admin/recounts/7", "GET"),
        ("/v1/admin/recounts/x", "GET"),
        ("/v1/admin/recounts/7/repair", "POST"),
        ("/v1/admin/repairs/7/confirm", "POST"),
        ("/v1/admin/repairs/7/revert", "POST"),
    ] {
        let answer = match method {
            "GET" => tally.get(path),
            _ => tally.post(path, "", b""),
        };
        assert_eq!((answer.status, answer.code()), (404, "not_found".into()), "{path}");
    }
    let (output, _) = manage(&tally, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
