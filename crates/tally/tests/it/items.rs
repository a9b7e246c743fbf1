//! What is known of items, and the reports that show it, asked over HTTP.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Answer, Tally};

const JSON: &str = "content-type: application/json\r\n";
const NDJSON: &str = "content-type: application/x-ndjson\r\n";

pub(crate) fn put(tally: &Tally, path: &str, body: &Value) -> Answer {
    request(tally, "PUT", path, JSON, body.to_string().as_bytes())
}

fn request(tally: &Tally, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n{headers}\r\n");
    tally.raw(&[head.as_bytes(), body].concat())
}

#[test]
fn what_is_said_of_an_item_is_kept_until_it_is_said_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let path = "/v1/items/b%2Fc%20%C3%BC";
    let unknown = tally.get(path);
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_item"));
    let full = json!({"title": "<img onerror=alert(1)>", "channel": "c", "channel_name": "C",
        "created": 1_795_255_200_123_i64, "attributes": {"k": "v"}});
    let created = put(&tally, path, &full);
    assert_eq!(created.status, 201);
    assert!(created.head.contains("tally-durability: fsync"), "{}", created.head);
    let mut stored = full.clone();
    stored["item"] = json!("b/c ü");
    stored["created"] = json!("2026-11-21T10:00:00.123Z");
    assert_eq!(created.json(), stored);
    assert_eq!(tally.get(path).json(), stored);
    let replaced = put(&tally, path, &json!({"item": "b/c ü", "title": "new"}));
    assert_eq!((replaced.status, replaced.json()), (200, json!({"item": "b/c ü", "title": "new"})));
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        (r#"{"title":7}"#, 422, "invalid_details"),
        (r#"{"item":"other"}"#, 422, "invalid_item"),
    ] {
        let refused = request(&tally, "PUT", path, JSON, body.as_bytes());
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body}");
    }
    let refused = request(&tally, "PUT", path, "", b"{}");
    assert_eq!((refused.status, refused.code().as_str()), (415, "unsupported_media_type"));
    // Killed right after the answer, it still knows.
    drop(tally);
    let tally = Tally::start(dir.path(), &[]);
    assert_eq!(tally.get(path).json(), json!({"item": "b/c ü", "title": "new"}));
    assert_eq!(request(&tally, "DELETE", path, "", b"").status, 204);
    assert_eq!(tally.get(path).code(), "unknown_item");
    assert_eq!(request(&tally, "DELETE", path, "", b"").status, 404);
}

#[test]
fn many_items_come_as_lines_each_with_its_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let lines = "{\"item\":\"a\",\"title\":\"A\"}\n\n{\"title\":\"nameless\"}\n{\"item\":\"b\"}\n{";
    let some = tally.post("/v1/items", NDJSON, lines.as_bytes());
    assert_eq!((some.status, &some.json()["accepted"]), (200, &json!(2)));
    let verdicts = some.json()["rejected"].clone();
    let codes = verdicts.as_array().expect("verdicts").iter().map(|v| (&v["index"], &v["code"]));
    let expected = [(json!(1), json!("invalid_item")), (json!(3), json!("invalid_json"))];
    assert!(codes.eq(expected.iter().map(|(index, code)| (index, code))), "{verdicts}");
    assert_eq!(tally.get("/v1/items/a").json(), json!({"item": "a", "title": "A"}));
    let many = "{\"item\":\"a\"}\n".repeat(100_001);
    for (headers, body, status, code) in [
        (NDJSON, "no\n", 422, "all_rejected"),
        (NDJSON, "\n", 422, "empty_batch"),
        (JSON, "{}", 415, "unsupported_media_type"),
        (NDJSON, &many, 413, "too_many_events"),
    ] {
        let refused = tally.post("/v1/items", headers, body.as_bytes());
        assert_eq!((refused.status, refused.code().as_str()), (status, code));
    }
}

/// Counts and details of two items of a channel, and one of none.
fn fill(tally: &Tally) {
    for (item, title) in [("a", "The A"), ("b", "The B")] {
        let details = json!({"title": title, "channel": "ch/1", "channel_name": "Ch"});
        assert_eq!(put(tally, &format!("/v1/items/{item}"), &details).status, 201);
    }
    let events = json!([
        {"item": "a", "value": 0.1}, {"item": "a", "value": 0.2}, {"item": "a"},
        {"item": "a", "type": "like"}, {"item": "b", "value": 7}, {"item": "b", "type": "like"},
        {"item": "b", "type": "like"}, {"item": "c"}, {"item": "c"},
    ]);
    assert_eq!(tally.send_json(&events).json()["accepted"], 9);
    for (item, count) in [("a", 3), ("b", 1), ("c", 2)] {
        tally.wait_until("counted", || tally.count(item) == count);
    }
    let likes = |item: &str| tally.get(&format!("/v1/items/{item}/count?type=like")).json();
    tally.wait_until("counted", || likes("a")["count"] == 1 && likes("b")["count"] == 2);
}

fn assert_reports(tally: &Tally) {
    let report = tally.get("/v1/items/a/report?hours=3").json();
    assert_eq!(report["details"]["title"], "The A");
    let totals = json!([{"type": "view", "count": 3, "sum": 0.3, "average": 0.15},
        {"type": "like", "count": 1, "sum": null, "average": null}]);
    assert_eq!(report["totals"], totals);
    assert_eq!(report["views"]["count"], 3);
    assert_eq!(report["views"]["sum"], 0.3);
    let series = report["views"]["series"].as_array().expect("points");
    assert_eq!(series.len(), 3);
    assert_eq!(series[0]["time"], report["start"]);
    assert_eq!(series.iter().filter_map(|point| point["count"].as_u64()).sum::<u64>(), 3);

    let bare = tally.get("/v1/items/c/report").json();
    assert_eq!((&bare["details"], &bare["totals"][0]["count"]), (&Value::Null, &json!(2)));
    assert_eq!(bare["views"]["series"].as_array().map(Vec::len), Some(24));
    let none = tally.get("/v1/items/none/report").json();
    assert_eq!((&none["totals"], &none["views"]["count"]), (&json!([]), &json!(0)));

    let channel = tally.get("/v1/channels/ch%2F1/report").json();
    assert_eq!((&channel["channel"], &channel["channel_name"]), (&json!("ch/1"), &json!("Ch")));
    assert_eq!(channel["items"], 2);
    let totals = json!([{"type": "view", "count": 4, "sum": 7.3, "average": 2.433333},
        {"type": "like", "count": 3, "sum": null, "average": null}]);
    assert_eq!(channel["totals"], totals);
    let top = json!([{"item": "a", "count": 3, "title": "The A"},
        {"item": "b", "count": 1, "title": "The B"}]);
    assert_eq!(channel["top"], top);
    assert_eq!(channel["views"]["count"], 4);
    let empty = tally.get("/v1/channels/none/report").json();
    assert_eq!((&empty["items"], &empty["top"]), (&json!(0), &json!([])));

    let top = tally.get("/v1/top?limit=2").json();
    let expected = json!([{"item": "a", "count": 3, "title": "The A"}, {"item": "c", "count": 2}]);
    assert_eq!(top["items"], expected);
    let trending = tally.get("/v1/trending?limit=2&window=2h").json();
    let rows = trending["items"].as_array().expect("rows");
    assert_eq!((&rows[0]["item"], &rows[0]["title"]), (&json!("a"), &json!("The A")));
    assert_eq!((&rows[0]["count"], &rows[0]["before"]), (&json!(3), &json!(0)));
    // (3 - 0) / sqrt(0 + 10)
    assert_eq!(rows[0]["score"], 0.949);
    assert_eq!((rows.len(), &rows[1]["item"]), (2, &json!("c")));
}

#[test]
fn reports_add_up_memory_and_store() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &["--flush-interval", "10m"]);
    fill(&tally);
    assert_reports(&tally);
    let url = format!("http://{}", tally.addr);
    let report = |args: &[&str]| {
        let run =
            Command::new(env!("CARGO_BIN_EXE_tally")).args(args).env("TALLY_URL", &url).output();
        let run = run.expect("the binary starts");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).expect("text")
    };
    let shown = report(&["top", "--limit", "2"]);
    assert!(shown.contains("The A"), "{shown}");
    let shown = report(&["report", "a", "--hours", "3"]);
    assert!(shown.contains("The A · a") && shown.contains("3 views in 3 h"), "{shown}");
    let shown = report(&["report", "--channel", "ch/1", "--json"]);
    assert!(shown.contains(r#""items":2"#), "{shown}");
    assert!(report(&["items", "get", "a"]).contains("The A"));
    assert_eq!(tally.stop(), Some(0));
    // All of it is in the store now.
    let tally = Tally::start(dir.path(), &["--flush-interval", "10m"]);
    assert_reports(&tally);
    for (path, status, code) in [
        ("/v1/items/a/report?hours=0", 400, "invalid_parameter"),
        ("/v1/items/a/report?hours=2161", 400, "invalid_parameter"),
        ("/v1/items/a/report?type=view", 400, "invalid_parameter"),
        ("/v1/items/a%00/report", 422, "invalid_item"),
        ("/v1/channels/a%00/report", 400, "invalid_parameter"),
        ("/v1/trending?window=32d", 422, "invalid_range"),
        ("/v1/trending?limit=1001", 422, "too_many_points"),
        ("/v1/trending?type=View", 422, "invalid_type"),
    ] {
        let refused = tally.get(path);
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{path}");
    }
}

#[test]
fn a_file_of_items_is_imported_and_bad_lines_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let file = dir.path().join("items.ndjson");
    let mut lines: String =
        (0..12_000).map(|n| format!("{{\"item\":\"i{n}\",\"channel\":\"c\"}}\n")).collect();
    lines.push_str("\n{\"item\":\"bad\",\"title\":\"\"}\n{\"item\":\"last\"}");
    std::fs::write(&file, lines).expect("a file");
    let run = Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["items", "import", "--json"])
        .arg(&file)
        .env("TALLY_URL", format!("http://{}", tally.addr))
        .output()
        .expect("the binary starts");
    assert_eq!(run.status.code(), Some(1));
    let shown = String::from_utf8(run.stdout).expect("text");
    assert_eq!(shown.trim(), r#"{"accepted":12001,"rejected":1}"#);
    let named = String::from_utf8(run.stderr).expect("text");
    assert!(named.contains("line 12002") && named.contains("invalid_details"), "{named}");
    assert_eq!(tally.get("/v1/items/last").status, 200);
    // More items than a report adds up.
    let refused = tally.get("/v1/channels/c/report");
    assert_eq!((refused.status, refused.code().as_str()), (422, "too_many_points"));
}

#[test]
fn a_backup_knows_the_items() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    std::fs::create_dir(path("data")).expect("a folder");
    let tally = Tally::start(Path::new(&path("data")), &[]);
    assert_eq!(put(&tally, "/v1/items/a", &json!({"title": "A", "channel": "c"})).status, 201);
    let run = |args: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(args)
            .env("TALLY_URL", format!("http://{}", tally.addr))
            .output()
            .expect("the binary starts");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    run(&["backup", &path("backup")]);
    run(&["restore", &path("backup"), "--data-dir", &path("restored")]);
    let restored = Tally::start(Path::new(&path("restored")), &[]);
    assert_eq!(restored.get("/v1/items/a").json()["title"], "A");
    assert_eq!(restored.get("/v1/channels/c/report").json()["items"], 1);
}
