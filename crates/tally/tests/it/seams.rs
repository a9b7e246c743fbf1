//! A question over three years crosses cold files, days, hours, minutes and memory: wherever it
//! begins and ends, it counts what was sent in the range that it says it covers, each event once.

use model::TimestampMs;
use model::bucket::{DAY_MS, HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

use super::Tally;

/// Everything is kept by the minute.
const LONG: [&str; 6] =
    ["--max-event-age", "40y", "--retention-minute", "40y", "--retention-hour", "40y"];
/// Memory is flushed when the server stops, and not before.
const SELDOM: [&str; 2] = ["--flush-interval", "10m"];
const OFTEN: [&str; 2] = ["--flush-interval", "100ms"];
const SHORT: [&str; 6] =
    ["--max-event-age", "40y", "--retention-minute", "3h", "--retention-hour", "2d"];
const YEARS_MS: i64 = 3 * 365 * DAY_MS;

/// What was sent: time and value.
type Sent = Vec<(i64, i64)>;

fn now(tally: &Tally) -> i64 {
    let answer = tally.get("/v1/counts?item=a").json();
    TimestampMs::parse(answer["as_of"].as_str().expect("a time")).expect("a time").0
}

/// The last and the first millisecond around some times.
fn around(times: impl IntoIterator<Item = i64>) -> Vec<i64> {
    times.into_iter().flat_map(|time| [time - 1, time]).collect()
}

fn send(tally: &Tally, sent: &mut Sent, times: &[i64]) {
    let from = sent.len() as i64;
    sent.extend((from..).zip(times).map(|(n, time)| (*time, 1 << (n % 40))));
    let event = |(time, value): &(i64, i64)| json!({"item": "a", "time": time, "value": value});
    let events: Vec<Value> = sent[from as usize..].iter().map(event).collect();
    assert_eq!(tally.send_json(&json!(events)).json()["accepted"], times.len());
    tally.wait_until("counted", || tally.count("a") == sent.len() as u64);
}

fn time(answer: &Value, name: &str) -> i64 {
    let text = answer[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {answer}"));
    TimestampMs::parse(text).expect("a time").0
}

/// Every way to ask for a range says what was sent in the range that it covers.
fn check(tally: &Tally, sent: &Sent, start: i64, end: i64) {
    let within = |from: i64, to: i64| {
        let events = sent.iter().filter(|(time, _)| (from..to).contains(time));
        events.fold((0u64, 0i64), |(count, sum), (_, value)| (count + 1, sum + value))
    };
    // Each answer is judged by its own bounds: a horizon may move between two questions.
    let bounds = |answer: &Value| {
        let (from, to) = (time(answer, "start"), time(answer, "end"));
        assert!(from <= start && end <= to, "{start} to {end} is answered by {answer}");
        assert!(start - from < DAY_MS && to - end < DAY_MS, "{start} to {end}: {answer}");
        (from, to)
    };
    let covered = |answer: &Value| {
        let (from, to) = bounds(answer);
        within(from, to)
    };
    let range = format!("start={start}&end={end}");
    let count = tally.get(&format!("/v1/items/a/count?{range}")).json();
    assert_eq!(count["count"], covered(&count).0, "{range}: {count}");
    for step in ["total", "day"] {
        let path = format!("/v1/items/a/stats?{range}&step={step}&function=count,sum");
        let stats = tally.get(&path).json();
        let ((from, to), (events, sum)) = (bounds(&stats), covered(&stats));
        assert_eq!(stats["total"]["count"], events, "{range} {step}");
        assert_eq!(stats["total"]["sum"].as_i64().unwrap_or(0), sum, "{range} {step}");
        for point in stats["series"].as_array().expect("points") {
            let day = time(point, "time").max(from);
            let (events, sum) = within(day, ((day / DAY_MS + 1) * DAY_MS).min(to));
            assert_eq!(point["count"], events, "{range}: {point}");
            assert_eq!(point["sum"].as_i64().unwrap_or(0), sum, "{range}: {point}");
        }
    }
    let top = tally.get(&format!("/v1/top?{range}")).json();
    assert_eq!(top["items"][0]["count"].as_u64().unwrap_or(0), covered(&top).0, "{range}");
    let explained = tally.get(&format!("/v1/items/a/explain?{range}")).json();
    assert_eq!(explained["count"], covered(&explained).0, "{range}: {explained}");
}

#[test]
fn three_years_are_right_at_every_seam() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut sent = Sent::new();
    let tally = Tally::start(dir.path(), &LONG);
    let began = now(&tally);
    // The horizons move while the test runs: some of these are on either side of each, whatever.
    let hour = began / HOUR_MS * HOUR_MS;
    let minutes = (1..5).map(|n| hour - n * HOUR_MS);
    let day = began / DAY_MS * DAY_MS;
    let days = (0..4).map(|n| day - n * DAY_MS);
    let quarters = (1..12).map(|n| day - n * 91 * DAY_MS);
    let first = day - YEARS_MS;
    let seams: Vec<i64> = [first].into_iter().chain(minutes).chain(days).chain(quarters).collect();
    send(&tally, &mut sent, &around(seams.clone()));
    assert_eq!(tally.stop(), Some(0));

    let explain = |tally: &Tally| {
        let path = format!("/v1/items/a/explain?start={first}&end={began}");
        tally.get(&path).json()
    };
    let tally = Tally::start(dir.path(), &[&SHORT[..], &OFTEN].concat());
    // All but the newest days.
    tally.wait_until("cold", || explain(&tally)["cold"]["count"].as_u64() > Some(20));
    assert_eq!(tally.stop(), Some(0));
    let tally = Tally::start(dir.path(), &[&SHORT[..], &SELDOM].concat());
    // What comes late for cold days and folded hours stands beside them, in memory.
    send(&tally, &mut sent, &around(seams.iter().copied().filter(|time| *time > first)));
    send(&tally, &mut sent, &[began, began - MINUTE_MS]);
    let explained = explain(&tally);
    let until = TimestampMs::parse(explained["cold"]["until"].as_str().expect("a time"));
    let horizons = ["minute_horizon", "hour_horizon"].map(|name| time(&explained, name));
    let mut ends = around(horizons.into_iter().chain([until.expect("a time").0]));
    ends.extend(around([first, day - 91 * DAY_MS, day, hour]));
    ends.extend([first + HOUR_MS + 7, began - 90 * MINUTE_MS, began + 1]);
    let check_all = |tally: &Tally| {
        for (start, end) in ends.iter().flat_map(|start| ends.iter().map(move |end| (*start, *end)))
        {
            if start < end {
                check(tally, &sent, start, end);
            }
        }
    };
    check_all(&tally);
    assert_eq!(tally.stop(), Some(0));
    // The same from rows instead of memory.
    check_all(&Tally::start(dir.path(), &[&SHORT[..], &SELDOM].concat()));
}
