//! All counters of a server, a line a counter, and what a build without SQL says.

use std::collections::BTreeMap;

use model::TimestampMs;
use model::bucket::{DAY_MS, HOUR_MS};
use serde_json::{Value, json};

use super::Tally;

/// The lines of an answer, whose chunks a client puts together.
fn lines(tally: &Tally, query: &str) -> (Vec<Value>, String) {
    let output = std::process::Command::new("curl")
        .args(["-sf", "-i", "-m", "60"])
        .arg(format!("http://{}/v1/admin/counters{query}", tally.addr))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{query}: {text}");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let line = |line: &str| serde_json::from_str(line).expect("a line is JSON");
    (body.lines().map(line).collect(), head.to_ascii_lowercase())
}

fn count(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["count"].as_u64().expect("a count")).sum()
}

#[test]
fn every_event_is_in_one_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = ["--max-event-age", "40y", "--audit-interval", "off", "--flush-interval", "10m"];
    let tally = Tally::start(dir.path(), &flags);
    let (none, head) = lines(&tally, "");
    assert_eq!(none, [Value::Null; 0]);
    assert!(head.contains("tally-cold-until: 1970-01-01"), "{head}");
    let now = TimestampMs::parse(
        head.split("tally-as-of: ").nth(1).expect("a time").lines().next().expect("a line"),
    );
    let now = now.expect("a time").0;
    let event = |item: &str, event_type: &str, time: i64, value: Value| json!({"item": item, "type": event_type, "time": time, "value": value});
    let (minute, hour, day) = (now - HOUR_MS, now - 20 * DAY_MS, now - 400 * DAY_MS);
    let events = json!([
        event("a", "view", minute, json!(1.5)),
        event("a", "view", minute, json!(-2)),
        event("a", "view", hour, Value::Null),
        event("a", "like", day, json!(4)),
        event("b \"c\"", "view", day, json!(0.000001)),
        event("b \"c\"", "view", day + DAY_MS, Value::Null),
    ]);
    assert_eq!(tally.send_json(&events).json()["accepted"], 6);
    tally.wait_until("counted", || count(&lines(&tally, "").0) == 6);
    let check = |tally: &Tally| {
        let (all, _) = lines(tally, "");
        assert_eq!(count(&all), 6, "{all:?}");
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &all {
            *kinds.entry(line["granularity"].as_str().expect("a name")).or_default() +=
                line["count"].as_u64().expect("a count");
        }
        assert_eq!(kinds, BTreeMap::from([("minute", 2), ("hour", 1), ("day", 3)]));
        let (of_minute, _) =
            lines(tally, &format!("?item=a&type=view&start={minute}&end={}", now + 1));
        assert_eq!(of_minute.len(), 1, "{of_minute:?}");
        let found = ["count", "value_count", "sum", "min", "max"]
            .map(|name| of_minute[0][name].to_string());
        assert_eq!(found, ["2", "2", "-0.5", "-2", "1.5"].map(str::to_owned));
        assert_eq!(count(&lines(tally, "?item=a").0), 4);
        assert_eq!(count(&lines(tally, "?type=view").0), 5);
        assert_eq!(count(&lines(tally, "?item=a&type=view").0), 3);
        assert_eq!(count(&lines(tally, "?item=nobody").0), 0);
        assert_eq!(count(&lines(tally, &format!("?end={}", day + DAY_MS)).0), 3);
        assert_eq!(count(&lines(tally, &format!("?start={}", day + DAY_MS)).0), 4);
    };
    check(&tally);
    assert_eq!(tally.stop(), Some(0));
    // The same from rows instead of memory.
    check(&Tally::start(dir.path(), &flags));
}

#[test]
fn wrong_questions_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    for (query, code) in [
        ("?items=a", "invalid_parameter"),
        ("?start=then", "invalid_parameter"),
        ("?item=", "invalid_item"),
        ("?type=View", "invalid_type"),
        ("?start=2000&end=1000", "invalid_range"),
    ] {
        assert_eq!(tally.get(&format!("/v1/admin/counters{query}")).code(), code, "{query}");
    }
}

/// More than is sent at a time, and clients that go away in between.
#[test]
fn many_counters_come_whole_and_nobody_waits_for_who_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &["--audit-interval", "off"]);
    for batch in 0..3 {
        let events: Vec<Value> = (0..10_000)
            .map(|n| json!({"item": format!("an item with a name {batch} {n}"), "id": "1"}))
            .collect();
        assert_eq!(tally.send_json(&json!(events)).json()["accepted"], 10_000);
    }
    tally.wait_until("counted", || tally.count("an%20item%20with%20a%20name%202%209999") == 1);
    for _ in 0..4 {
        tally.wait_until("it begins to answer", || tally.begins_to_answer("/v1/admin/counters"));
    }
    tally.wait_until("those are forgotten", || {
        tally.get("/v1/admin/counters?item=nobody").status == 200
    });
    tally.wait_until("all lines come", || lines(&tally, "").0.len() == 30_000);
}

#[cfg(not(feature = "sql"))]
#[test]
fn a_build_without_sql_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["sql", "select 1", "--data-dir"])
        .arg(dir.path())
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let files = format!("{}/archive/raw/**/*.parquet", dir.path().display());
    assert!(said.contains("--features sql") && said.contains(&files), "{said}");
}
