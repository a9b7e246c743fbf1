//! The routing table of a running server: spread, dedicated and added partitions, repeats before and
//! after, and what is left after a kill.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::Tally;

/// A version takes effect later than this after it was published.
const LEAD_MS: i64 = 90_000;

fn change(tally: &Tally, body: &Value) -> super::Answer {
    let kind = "content-type: application/json\r\n";
    tally.post("/v1/admin/routing", kind, body.to_string().as_bytes())
}

/// An event whose repeat is the same.
fn event(item: &str, n: i64, time: i64) -> Value {
    json!({"item": item, "id": format!("id-{n}"), "time": time})
}

pub(super) fn partitions(tally: &Tally) -> Vec<Value> {
    let answer = tally.get("/v1/admin/partitions").json();
    answer["partitions"].as_array().expect("a list").clone()
}

/// In how many partitions an item has anything.
pub(super) fn spread_over(tally: &Tally, item: &str) -> usize {
    let explained = tally.get(&format!("/v1/items/{item}/explain?type=view")).json();
    let parts = explained["partitions"].as_array().expect("a list").clone();
    let has_some = |part: &&Value| {
        let of = |list: &str| part[list].as_array().cloned().unwrap_or_default();
        of("rows").iter().chain(&of("memory")).any(|part| part["count"].as_u64() > Some(0))
    };
    parts.iter().filter(has_some).count()
}

fn now_ms(tally: &Tally) -> i64 {
    let time = partitions(tally)[0]["append_time"].as_str().expect("a time").to_owned();
    millis(&time)
}

fn millis(time: &str) -> i64 {
    model::TimestampMs::parse(time).expect("a time").0
}

fn tally(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tally")).args(args).output().expect("the binary starts")
}

/// Sends the same events twice; each is accepted, and counts once.
fn send(tally: &Tally, events: &[Value]) {
    for _ in 0..2 {
        let answer = tally.send_json(&Value::Array(events.to_vec()));
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["accepted"], events.len());
    }
}

#[test]
fn an_item_is_spread_and_partitions_are_added_while_every_repeat_finds_its_original() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = dir.path().join("clock");
    let start = |dir: &Path, shift_ms: i64| {
        fs::write(&clock, shift_ms.to_string()).expect("written");
        let flag = clock.to_str().expect("a plain path");
        Tally::start(dir, &["--drill-clock", flag, "--audit-interval", "off"])
    };
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let server = start(&data, 0);
    let before = now_ms(&server);
    let old: Vec<Value> = (0..200).map(|n| event("hot", n, before)).collect();
    send(&server, &old);
    let answer = change(
        &server,
        &json!({"partitions": 4, "rules": [
            {"item": "hot", "strategy": "spread", "over": 4},
            {"prefix": "ads/", "strategy": "dedicated", "partitions": [4]},
        ]}),
    );
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let table = answer.json();
    assert_eq!((&table["version"], &table["log_partitions"]), (&json!(2), &json!(5)));
    let effective = millis(table["effective"].as_str().expect("a time"));
    assert!(effective > before + LEAD_MS);
    assert_eq!(partitions(&server).len(), 5);
    // Nothing changes yet, and what was sent before is known still.
    send(&server, &old);
    server.wait_until("counted", || server.count("hot") == 200);
    assert_eq!(spread_over(&server, "hot"), 1);
    // Killed: what was published is there, and holds from its time on.
    drop(server);
    let server = start(&data, effective - before + 1_000);
    assert_eq!(server.get("/v1/admin/routing").json()["version"], 2);
    let new: Vec<Value> = (200..400).map(|n| event("hot", n, effective + n)).collect();
    send(&server, &new);
    send(&server, &old);
    let ads: Vec<Value> = (0..20).map(|n| event(&format!("ads/{n}"), n, effective)).collect();
    send(&server, &ads);
    server.wait_until("counted", || server.count("hot") == 400);
    assert_eq!(spread_over(&server, "hot"), 4);
    server.wait_until("counted", || partitions(&server)[4]["counted"].as_u64() >= Some(20));
    let top = server.get("/v1/top?type=view&window=1h&limit=3").json();
    assert_eq!((&top["items"][0]["item"], &top["items"][0]["count"]), (&json!("hot"), &json!(400)));
    let counts = server.get("/v1/counts?item=hot&item=ads/3&type=view").json();
    assert_eq!(counts["counts"][0]["count"], 400);
    assert_eq!(counts["counts"][1]["count"], 1);
    // Without a time an id goes where it always went, and its repeat too.
    let timeless: Vec<Value> =
        (0..100).map(|n| json!({"item": "hot", "id": format!("timeless-{n}")})).collect();
    send(&server, &timeless);
    server.wait_until("counted", || server.count("hot") == 500);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn changes_that_break_a_rule_are_refused_and_the_command_says_what_there_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let server = Tally::start(&data, &[]);
    for (body, code) in [
        (json!({}), "invalid_routing"),
        (json!({"partitions": 0}), "invalid_routing"),
        (json!({"partitions": 2000}), "invalid_routing"),
        (json!({"rules": [{"item": "a", "strategy": "spread", "over": 1}]}), "invalid_routing"),
        // Not the next one.
        (
            json!({"rules": [{"item": "a", "strategy": "pinned", "partitions": [7]}]}),
            "invalid_routing",
        ),
        (
            json!({"rules": [{"prefix": "", "strategy": "dedicated", "partitions": [0, 1]}]}),
            "invalid_routing",
        ),
        (json!({"rules": "all"}), "invalid_json"),
        (json!({"partitions": 2, "after": 7}), "conflict"),
    ] {
        assert_eq!(change(&server, &body).code(), code, "{body}");
    }
    assert_eq!(server.get("/v1/admin/routing").json()["version"], 1);
    assert_eq!(partitions(&server).len(), 2, "nothing was added");

    let url = format!("http://{}", server.addr);
    let said = |args: &[&str]| {
        let output = tally(&[&["routing"], args, &["--url", &url]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(said(&["show"]).contains("version 1"));
    assert!(said(&["spread", "hot", "--over", "2"]).contains("version 2"));
    let kind = "content-type: application/x-ndjson\r\n";
    let details = r#"{"item":"v1","channel":"c"}
{"item":"v2","channel":"c"}"#;
    assert_eq!(server.post("/v1/items", kind, details.as_bytes()).status, 200);
    assert!(said(&["dedicate", "--channel", "c", "--partitions", "2"]).contains("version 3"));
    assert!(said(&["pin", "--prefix", "p/", "--partitions", "0"]).contains("version 4"));
    assert!(said(&["partitions", "4"]).contains("version 5"));
    assert!(said(&["unspread", "hot"]).contains("version 6"));
    let shown = said(&["show"]);
    for part in ["4 partitions", "v1", "to 2, alone", "p/…", "to 0"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("hot"), "{shown}");
    let json: Value = serde_json::from_str(&said(&["show", "--json"])).expect("JSON");
    assert_eq!((&json["rules_total"], &json["log_partitions"]), (&json!(3), &json!(4)));
    for (wrong, status) in [
        (&["pin", "--partitions", "1"][..], 2),
        (&["pin", "a"], 2),
        (&["pin", "a", "--partitions", "x"], 2),
        (&["dedicate", "--channel", "nobody", "--partitions", "1"], 1),
        (&["spread", "a", "--over", "1"], 1),
    ] {
        let output = tally(&[&["routing"], wrong, &["--url", &url]].concat());
        assert_eq!(output.status.code(), Some(status), "{wrong:?}");
    }
    let metrics = String::from_utf8(server.get("/metrics").body).expect("text");
    assert!(metrics.contains("tally_routing_version 6"), "{metrics}");
    assert!(metrics.contains("tally_partition_skew_ratio"), "{metrics}");
    // A backup has it too.
    let (backup, restored) = (dir.path().join("backup"), dir.path().join("restored"));
    let places = [backup.to_str().expect("plain"), restored.to_str().expect("plain")];
    for args in [
        &["backup", places[0], "--url", &url][..],
        &["restore", places[0], "--data-dir", places[1]],
    ] {
        let output = tally(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let copy = Tally::start(&restored, &[]);
    assert_eq!(copy.get("/v1/admin/routing").json()["version"], 6);
    drop(copy);
    assert_eq!(server.stop(), Some(0));
    // The setting speaks of the number at first, which it had, or has now.
    let again = Tally::start(&data, &[]);
    assert_eq!(again.get("/v1/admin/routing").json()["version"], 6);
}
