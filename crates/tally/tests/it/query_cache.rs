//! Answers that are given again: never after a repair, never of before what was counted since.

use model::TimestampMs;
use serde_json::json;

use super::Tally;
use super::recount::{AGO_MS, FLUSH, add_to, events, now_ms, plant, recount};

fn hits(tally: &Tally) -> u64 {
    let metrics = String::from_utf8(tally.get("/metrics").body).expect("text");
    let line = metrics.lines().find_map(|l| l.strip_prefix("tally_query_cache_hits_total "));
    line.expect("the metric is there").parse().expect("a number")
}

/// What `top` says of an item in the hours of the events.
fn top(tally: &Tally, start: i64, item: &str) -> u64 {
    let (start, end) = (start - 3_600_000, start + 3_600_000);
    let answer = tally.get(&format!("/v1/top?start={start}&end={end}&limit=9")).json();
    let mut rows = answer["items"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["item"] == item);
    row.and_then(|row| row["count"].as_u64()).unwrap_or(0)
}

/// What long `stats` say of an item in all.
fn stats(tally: &Tally, start: i64, item: &str) -> u64 {
    let (start, end) = (start - 72 * 3_600_000, start + 3_600_000);
    let path = format!("/v1/items/{item}/stats?start={start}&end={end}&function=count");
    tally.get(&path).json()["total"]["count"].as_u64().expect("a count")
}

#[test]
fn a_repair_lowers_final_answers_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = now_ms() - AGO_MS;
    let tally = Tally::start(dir.path(), &FLUSH);
    assert_eq!(tally.send_json(&json!(events(start))).status, 202);
    tally.wait_until("counted", || tally.count("item-1") == 50);
    assert_eq!(tally.stop(), Some(0));
    let hour = TimestampMs(start).minute().hour();
    plant(dir.path(), "item-1", hour, &mut |row| add_to(row, 7));

    // Events of then are no longer accepted: the range is final.
    let tally = Tally::start(dir.path(), &[FLUSH[0], FLUSH[1], "--max-event-age", "30m"]);
    for _ in 0..3 {
        assert_eq!((top(&tally, start, "item-1"), stats(&tally, start, "item-1")), (57, 57));
    }
    // Whatever is counted meanwhile does not matter to it.
    let before = hits(&tally);
    assert_eq!(tally.send_json(&json!({"item": "other"})).status, 202);
    tally.wait_until("counted", || tally.count("other") == 1);
    assert_eq!((top(&tally, start, "item-1"), stats(&tally, start, "item-1")), (57, 57));
    assert_eq!(hits(&tally), before + 2);

    let (output, repaired) = recount(&tally, start, &["--repair"]);
    assert_eq!(output.status.code(), Some(0), "{repaired}");
    assert_eq!((top(&tally, start, "item-1"), stats(&tally, start, "item-1")), (50, 50));
    // And again, from the cache now.
    let before = hits(&tally);
    assert_eq!((top(&tally, start, "item-1"), stats(&tally, start, "item-1")), (50, 50));
    assert_eq!(hits(&tally), before + 2);
}

#[test]
fn a_late_event_shows_in_a_closed_range_as_soon_as_it_is_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = now_ms() - AGO_MS;
    let tally = Tally::start(dir.path(), &FLUSH);
    for late in 1..=20 {
        let event = json!({"item": "late", "id": late.to_string(), "time": start});
        assert_eq!(tally.send_json(&event).status, 202);
        tally.wait_until("counted", || tally.count("late") == late);
        for _ in 0..3 {
            assert_eq!((top(&tally, start, "late"), stats(&tally, start, "late")), (late, late));
        }
    }
    assert!(hits(&tally) > 0, "nothing was counted between the second answer and the third");
}

#[test]
fn it_can_be_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let start = now_ms() - AGO_MS;
    let tally = Tally::start(dir.path(), &["--query-cache", "off"]);
    for _ in 0..3 {
        assert_eq!(top(&tally, start, "none"), 0);
    }
    assert_eq!(hits(&tally), 0);
}

/// What is not over yet is never behind the item's count.
#[test]
fn open_stats_are_of_the_same_moment_as_the_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &FLUSH);
    for n in 1..=20 {
        assert_eq!(tally.send_json(&json!({"item": "now"})).status, 202);
        tally.wait_until("counted", || tally.count("now") == n);
        let answer = tally.get(&format!(
            "/v1/items/now/stats?start={}&function=count&step=hour",
            now_ms() - 72 * 3_600_000
        ));
        assert_eq!(answer.json()["total"]["count"], n);
    }
}
