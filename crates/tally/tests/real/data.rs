//! Real data with known answers: totals, top items, hourly series, sums and means, to the digit.

use serde_json::Value;

use super::server::{Server, data_file, truth};

const TYPES: [&str; 3] = ["view", "like", "share"];
const FLAGS: [&str; 6] =
    ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];

pub(crate) fn send(server: &Server, state: &std::path::Path, file: &str, more: &[&str]) -> Value {
    let path = data_file(file);
    let path = path.to_str().expect("a path is text");
    let output = std::process::Command::new(super::server::TALLY)
        .args(["send", path, "--json"])
        .args(more)
        .env("TALLY_URL", &server.url)
        .env("XDG_STATE_HOME", state)
        .output()
        .expect("the command runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.wait_for("everything is counted", || server.metric("tally_partition_lag_events") == 0.0);
    serde_json::from_slice(&output.stdout).expect("the summary is JSON")
}

/// The range of all events of a file: whole days around them.
fn range(truth: &Value) -> (String, String) {
    let day = |name: &str| truth[name].as_str().expect("a time")[..10].to_owned();
    (format!("{}T00:00:00Z", day("ts_min")), format!("{}T23:59:59Z", day("ts_max")))
}

fn stats(server: &Server, item: &str, event_type: &str, truth: &Value, step: &str) -> Value {
    let (start, end) = range(truth);
    server.ask(&[
        "stats",
        item,
        "--type",
        event_type,
        "--function",
        "count,sum,average,min,max",
        "--step",
        step,
        "--start",
        &start,
        "--end",
        &end,
    ])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The top items of every type, and of all types together, with their sums and means.
pub(crate) fn assert_totals(server: &Server, truth: &Value) {
    let (start, end) = range(truth);
    for event_type in TYPES {
        let top = server
            .ask(&["top", "--type", event_type, "--start", &start, "--end", &end, "--limit", "10"]);
        let found: Vec<(String, u64)> = top["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| (text(&row["item"]).to_owned(), row["count"].as_u64().expect("a count")))
            .collect();
        let expected: Vec<(String, u64)> = truth["top10_by_type"][event_type]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| (text(&row[0]).to_owned(), row[1].as_u64().expect("a count")))
            .collect();
        assert_eq!(found, expected, "top 10 of {event_type}");
        for row in truth["top10_by_type"][event_type].as_array().expect("a list") {
            let total = &stats(server, text(&row[0]), event_type, truth, "total")["total"];
            assert_eq!(total["sum"].to_string(), text(&row[2]), "sum of {}", row[0]);
        }
    }
    for row in truth["top10"].as_array().expect("a list") {
        let item = text(&row["item_id"]);
        let (mut count, mut sum) = (0, 0);
        for event_type in TYPES {
            let total = &stats(server, item, event_type, truth, "total")["total"];
            count += total["count"].as_u64().expect("a count");
            sum += total["sum"].as_i64().unwrap_or(0);
            let asked = server.ask(&["count", item, "--type", event_type]);
            assert_eq!(asked["count"], total["count"], "total and range of {item}");
        }
        assert_eq!(count, row["events"].as_u64().expect("a count"), "events of {item}");
        assert_eq!(sum.to_string(), text(&row["value_sum"]), "sum of {item}");
    }
}

fn assert_series(server: &Server, truth: &Value) {
    for (event_type, items) in truth["per_hour_top3_by_type"].as_object().expect("an object") {
        for (item, hours) in items.as_object().expect("an object") {
            let answer = stats(server, item, event_type, truth, "hour");
            let mut found = serde_json::Map::new();
            let series = answer["series"].as_array().expect("a list");
            for point in series.iter().filter(|point| point["count"] != 0) {
                found.insert(text(&point["time"]).to_owned(), point["count"].clone());
            }
            assert_eq!(Value::Object(found), *hours, "hours of {item}, {event_type}");
            let days = (series.len() / 24) as u64;
            let per_day = truth["per_day"].as_object().expect("an object");
            assert!(days >= per_day.len() as u64, "hours without events are there too");
        }
    }
}

fn assert_means(server: &Server, truth: &Value) {
    for row in truth["top10"].as_array().expect("a list") {
        let item = text(&row["item_id"]);
        // Means of the truth are over all types: compare where the item has only one.
        let answers: Vec<Value> = TYPES
            .iter()
            .map(|event_type| stats(server, item, event_type, truth, "total"))
            .collect();
        let used: Vec<&Value> =
            answers.iter().map(|answer| &answer["total"]).filter(|t| t["count"] != 0).collect();
        if let [only] = used[..] {
            let mean = decimal_micros(text(&row["value_mean"]));
            assert_eq!(decimal_micros(&only["average"].to_string()), mean, "mean of {item}");
        }
        for total in used {
            let (sum, count) = (total["sum"].as_f64(), total["count"].as_f64());
            let mean = sum.expect("a sum") / count.expect("a count");
            let average = total["average"].as_f64().expect("an average");
            assert!((average - mean).abs() < 1e-6, "mean of {item}: {average}, not {mean}");
        }
    }
}

/// A decimal in micro-units, rounded half to even.
fn decimal_micros(text: &str) -> i64 {
    model::Value::parse(text).expect("a decimal").micros()
}

fn count_and_compare(name: &str) {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"), &FLAGS);
    let truth = truth(name);
    let file = format!("{name}.csv.zst");
    let sent = send(&server, scratch.path(), &file, &[]);
    assert_eq!(sent["accepted"], truth["events"]);
    assert_totals(&server, &truth);
    assert_series(&server, &truth);
    assert_means(&server, &truth);
    let again = send(&server, scratch.path(), &file, &[]);
    assert_eq!(again["accepted"], truth["events"], "a repeat is accepted, and changes nothing");
    assert_totals(&server, &truth);
    assert!(server.stop(), "SIGTERM ends it with status 0");
}

#[test]
fn flights() {
    count_and_compare("flights-2001-jan-apr");
}

#[test]
fn nasa_day() {
    count_and_compare("nasa-1995-08-01");
}

/// Raw access logs: paths, bytes and days, with what is odd counted and told.
fn log_and_compare(name: &str, refused: u64) {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"), &FLAGS);
    let truth = truth(name);
    let file = format!("{name}.log.zst");
    let sent = send(&server, scratch.path(), &file, &[]);
    let lines = truth["lines"].as_u64().expect("a number");
    assert_eq!(sent["refused"], refused, "{sent}");
    assert_eq!(sent["accepted"].as_u64().expect("a number"), lines - refused);
    let (start, end) = range(&truth);
    let compare = || {
        let top = server.ask(&["top", "--start", &start, "--end", &end, "--limit", "12"]);
        for (row, expected) in top["items"]
            .as_array()
            .expect("a list")
            .iter()
            .zip(truth["path_without_query"]["top12"].as_array().expect("a list"))
        {
            assert_eq!((&row["item"], &row["count"]), (&expected[0], &expected[1]));
        }
    };
    compare();
    send(&server, scratch.path(), &file, &[]);
    compare();
}

#[test]
fn apache_combined() {
    // One line has no closing quote, one path is over 256 bytes.
    log_and_compare("apache-combined-2015-05", 2);
}

#[test]
fn nasa_web() {
    log_and_compare("nasa-web-2017-jan-aug", 13);
}
