//! Minutes and hours are kept for a time: questions about older ones are rounded, and say so.

use model::TimestampMs;
use model::bucket::{DAY_MS, HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

use super::Tally;

const SHORT: [&str; 8] = [
    "--max-event-age",
    "40y",
    "--retention-minute",
    "2h",
    "--retention-hour",
    "3d",
    "--flush-interval",
    "100ms",
];

const LONG: [&str; 6] =
    ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];

/// Two events each of the last hour, of an hour yesterday and of a day before the hours kept.
struct Sent {
    minute: TimestampMs,
    hour: TimestampMs,
    day: TimestampMs,
}

impl Sent {
    fn to(tally: &Tally) -> Self {
        let now = tally.get("/v1/counts?item=a").json();
        let now = TimestampMs::parse(now["as_of"].as_str().expect("a time")).expect("a time");
        let back = |ms: i64, bucket: i64| TimestampMs(now.0 - ms).floor(bucket);
        let sent = Self {
            minute: back(30 * MINUTE_MS, MINUTE_MS),
            hour: back(26 * HOUR_MS, HOUR_MS),
            day: back(10 * DAY_MS, DAY_MS),
        };
        let event = |at: i64, value: u64| json!({"item": "a", "time": at, "value": value});
        let events = json!([
            event(sent.minute.0, 1),
            event(sent.minute.0, 2),
            event(sent.hour.0 + 10 * MINUTE_MS, 3),
            event(sent.hour.0 + 50 * MINUTE_MS, 4),
            event(sent.day.0 + HOUR_MS, 5),
            event(sent.day.0 + 20 * HOUR_MS, 6),
        ]);
        assert_eq!(tally.send_json(&events).json()["accepted"], 6);
        tally.wait_until("counted", || tally.count("a") == 6);
        sent
    }
}

fn stats(tally: &Tally, step: &str, start: i64, end: i64) -> Value {
    let path = format!("/v1/items/a/stats?step={step}&start={start}&end={end}&function=count,sum");
    tally.get(&path).json()
}

fn check(tally: &Tally, sent: &Sent) {
    let text = |ms: i64| TimestampMs(ms).to_string();
    let Sent { minute, hour, day } = *sent;
    assert_eq!(tally.count("a"), 6);
    for (start, length, count) in
        [(minute.0, MINUTE_MS, 2), (hour.0, HOUR_MS, 2), (day.0, DAY_MS, 2)]
    {
        let range = format!("start={}&end={}", start + 9 * MINUTE_MS / 10, start + MINUTE_MS);
        let covered = (json!(text(start)), json!(text(start + length)));
        let answer = tally.get(&format!("/v1/items/a/count?{range}")).json();
        assert_eq!(answer["count"], count, "{answer}");
        assert_eq!((&answer["start"], &answer["end"]), (&covered.0, &covered.1));
        let top = tally.get(&format!("/v1/top?{range}")).json();
        assert_eq!(top["items"], json!([{"item": "a", "count": count}]));
        assert_eq!((&top["start"], &top["end"]), (&covered.0, &covered.1));
    }
    let ranges = [
        String::new(),
        format!("start={}&end={}", minute.0, minute.0 + MINUTE_MS),
        format!("start={}&end={}", day.0 + 1, minute.0 + MINUTE_MS),
    ];
    for range in ranges {
        let explained = tally.get(&format!("/v1/items/a/explain?{range}")).json();
        let count = tally.get(&format!("/v1/items/a/count?{range}")).json();
        for field in ["count", "start", "end", "status"] {
            assert_eq!(explained[field], count[field], "{field} of {explained}");
        }
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let mut parts = explained["cold"]["count"].as_u64().expect("a count");
        for partition in list(&explained["partitions"]) {
            for part in [list(&partition["rows"]), list(&partition["memory"])].concat() {
                parts += part["count"].as_u64().expect("a count");
            }
        }
        assert_eq!(count["count"], parts, "{explained}");
    }
    let fine = stats(tally, "minute", minute.0 - 3 * MINUTE_MS, minute.0 + MINUTE_MS);
    assert_eq!(fine["step"], "minute");
    let counts = |answer: &Value| -> Vec<u64> {
        let points = answer["series"].as_array().expect("points").iter();
        points.map(|point| point["count"].as_u64().expect("a count")).collect()
    };
    assert_eq!(counts(&fine), [0, 0, 0, 2]);
    let hours = stats(tally, "minute", hour.0 - HOUR_MS + 1, hour.0 + MINUTE_MS);
    assert_eq!((hours["step"].as_str(), counts(&hours)), (Some("hour"), vec![0, 2]));
    let days = stats(tally, "hour", day.0 + 5 * HOUR_MS, day.0 + 25 * HOUR_MS);
    assert_eq!((days["step"].as_str(), counts(&days)), (Some("day"), vec![2, 0]));
    assert_eq!(
        (&days["start"], &days["end"]),
        (&json!(text(day.0)), &json!(text(day.0 + 2 * DAY_MS)))
    );
    let all = stats(tally, "day", day.0, minute.0 + MINUTE_MS);
    assert_eq!((all["total"]["count"].as_u64(), all["total"]["sum"].as_u64()), (Some(6), Some(21)));
}

#[test]
fn what_is_old_is_told_by_the_hour_and_by_the_day() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &SHORT);
    let sent = Sent::to(&tally);
    check(&tally, &sent);
    let metrics = String::from_utf8(tally.get("/metrics").body).expect("text");
    for name in [
        "tally_minute_horizon_timestamp_seconds",
        "tally_hour_horizon_timestamp_seconds",
        "tally_folded_rows",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &SHORT);
    check(&tally, &sent);
    drop(tally);
    // What is gone does not come back with a longer time.
    let long = ["--retention-minute", "40y", "--retention-hour", "40y"];
    check(&Tally::start(dir.path(), &long), &sent);
}

/// Shortening the time makes hours and days of what was kept by the minute.
#[test]
fn a_shorter_time_coarsens_what_is_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &LONG);
    let sent = Sent::to(&tally);
    let answer = stats(&tally, "minute", sent.day.0, sent.day.0 + 2 * HOUR_MS);
    let points = answer["series"].as_array().expect("points");
    assert_eq!((answer["step"].as_str(), points.len()), (Some("minute"), 120));
    assert_eq!(points[60]["count"], 1);
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &SHORT);
    check(&tally, &sent);
    let folded = || {
        let metrics = String::from_utf8(tally.get("/metrics").body).expect("text");
        let lines = metrics.lines().filter(|line| line.starts_with("tally_folded_rows_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    tally.wait_until("folded", || folded() >= 1.0);
    check(&tally, &sent);
}

/// Days that were counted by the hour go to files; what comes later for them is added.
#[test]
fn cold_days_are_in_files_and_late_events_beside_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &LONG);
    let sent = Sent::to(&tally);
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &SHORT);
    let range = format!("start={}&end={}", sent.day.0, sent.day.0 + DAY_MS);
    let explain = || tally.get(&format!("/v1/items/a/explain?{range}")).json();
    tally.wait_until("cold", || explain()["cold"]["count"] == 2);
    check(&tally, &sent);
    let late = json!([{"item": "a", "time": sent.day.0 + 1, "value": 7}]);
    assert_eq!(tally.send_json(&late).status, 202);
    let all = || tally.get(&format!("/v1/items/a/count?{range}")).json()["count"].clone();
    tally.wait_until("counted", || all() == 3);
    let top = tally.get(&format!("/v1/top?{range}")).json();
    assert_eq!(top["items"], json!([{"item": "a", "count": 3}]));
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &SHORT);
    let answer = tally.get(&format!("/v1/items/a/explain?{range}")).json();
    assert_eq!((&answer["count"], &answer["cold"]["count"]), (&json!(3), &json!(2)), "{answer}");
    drop(tally);
    // Without its archive a server would tell too little.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["serve", "--listen", "127.0.0.1:0", "--archive", "none", "--data-dir"])
        .arg(dir.path())
        .output()
        .expect("the binary starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("archive"), "{error}");
}

#[test]
fn hours_are_kept_as_long_as_minutes_at_least() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["config", "--retention-hour", "6d"])
        .output()
        .expect("the binary starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("`retention_hour` is `6d`") && error.contains("`retention_minute`"),
        "{error}"
    );
}
