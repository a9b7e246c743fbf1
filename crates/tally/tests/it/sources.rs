//! Stamped requests are counted once, however late they are repeated.

use serde_json::{Value, json};

use super::{Answer, Tally};

fn stamped(tally: &Tally, source: &str, sequence: &str, body: &[u8]) -> Answer {
    let headers = format!(
        "content-type: application/x-ndjson\r\ntally-source: {source}\r\ntally-sequence: {sequence}\r\n"
    );
    tally.post("/v1/events", &headers, body)
}

/// Epoch milliseconds.
fn minute_ago(ms: i64) -> i64 {
    #[expect(clippy::disallowed_methods, reason = "events of a test are of now")]
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    (now - ms) / 60_000 * 60_000
}

/// What was dropped as a repeat since the start, and what was counted.
fn figures(tally: &Tally) -> (u64, u64) {
    let answer = tally.get("/v1/admin/partitions").json();
    let partitions = answer["partitions"].as_array().expect("partitions").clone();
    let sum = |name: &str| partitions.iter().filter_map(|p: &Value| p[name].as_u64()).sum();
    (sum("duplicates"), sum("counted"))
}

#[test]
fn a_request_repeated_with_its_stamp_counts_once_without_any_id() {
    let folder = tempfile::tempdir().expect("a folder");
    // No id, so that the dedup window knows nothing of a repeat, as after its end.
    let lines: String = (0..500).map(|n| format!("{{\"item\":\"v{}\"}}\n", n % 7)).collect();
    let bad = "{\"item\":\"\"}\n{\"item\":\"v0\"}\n";
    let total = |tally: &Tally| (0..7).map(|n| tally.count(&format!("v{n}"))).sum::<u64>();
    {
        let tally = Tally::start(folder.path(), &[]);
        for _ in 0..3 {
            let answer = stamped(&tally, "spool 1", "1000", lines.as_bytes());
            assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(500)));
        }
        tally.wait_until("all counted", || figures(&tally) == (1_000, 500));
        assert_eq!(total(&tally), 500);
        // Refused events have their sequences too, and gaps are fine.
        let answer = stamped(&tally, "spool 1", "2000", bad.as_bytes());
        assert_eq!(answer.json()["rejected"][0]["index"], 0);
        tally.wait_until("counted", || total(&tally) == 501);
        assert_eq!(stamped(&tally, "spool 1", "2001", b"{\"item\":\"v0\"}\n").status, 202);
        tally.wait_until("judged", || figures(&tally) == (1_001, 501));
        // Another source has sequences of its own.
        assert_eq!(stamped(&tally, "spool 2", "0", b"{\"item\":\"v0\"}\n").status, 202);
        tally.wait_until("counted", || total(&tally) == 502);
        assert_eq!(tally.stop(), Some(0));
    }
    let tally = Tally::start(folder.path(), &[]);
    assert_eq!(stamped(&tally, "spool 1", "1000", lines.as_bytes()).status, 202);
    assert_eq!(
        tally
            .post("/v1/items/v0/events", "tally-source: spool 2\r\ntally-sequence: 0\r\n", b"")
            .status,
        202
    );
    tally.wait_until("judged", || figures(&tally) == (501, 0));
    assert_eq!(total(&tally), 502);
}

#[test]
fn a_wrong_stamp_is_named_and_nothing_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let event = b"{\"item\":\"v\"}\n";
    for (source, sequence) in [("s", "-1"), ("s", "x"), ("bulk:1", "0"), ("", "0"), ("s", "")] {
        let answer = stamped(&tally, source, sequence, event);
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_parameter"));
    }
    let half = "content-type: application/x-ndjson\r\ntally-source: s\r\n";
    assert_eq!(tally.post("/v1/events", half, event).code(), "invalid_parameter");
    assert_eq!(tally.count("v"), 0);
}

#[test]
fn a_file_sent_again_counts_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let lines: String =
        (0..9_000).map(|n| format!("{{\"item\":\"f\",\"id\":\"{n}\"}}\n")).collect();
    let file = folder.path().join("f.ndjson");
    std::fs::write(&file, lines).expect("a file");
    let send = |more: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["send", "--json", "--url", &format!("http://{}", tally.addr)])
            .args(more)
            .arg(&file)
            .env("XDG_STATE_HOME", folder.path())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        serde_json::from_slice::<Value>(&output.stdout).expect("a summary")["accepted"].clone()
    };
    assert_eq!(send(&[]), 9_000);
    assert_eq!(send(&["--batch", "300", "--in-flight", "9", "--restart"]), 9_000);
    tally.wait_until("judged", || figures(&tally) == (9_000, 9_000));
    assert_eq!(tally.count("f"), 9_000);
    // The stamps are in the log: eight sources, the sequences rising in each.
    let log = folder.path().join("log");
    let dumped = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["log", "dump", "--json", "--data-dir"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&dumped.stdout).into_owned();
    assert!(text.contains("\"send:") && log.is_dir(), "{}", &text[..text.len().min(400)]);
}

/// What is refused for its time may be sent again when its source has gone on: with a bound that
/// was raised it counts, once, and a recount agrees.
#[test]
fn what_was_too_old_counts_when_the_bound_is_raised_and_the_same_is_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    // Every third is too old for now, and every item has some of both.
    let at = minute_ago(20 * 86_400_000);
    let old = format!("\"time\":{at}");
    let line = |n: u64| match n % 3 {
        0 => format!("{{\"item\":\"v{}\",{old}}}\n", n % 7),
        _ => format!("{{\"item\":\"v{}\"}}\n", n % 7),
    };
    let lines: String = (0..300).map(line).collect();
    let total = |tally: &Tally| (0..7).map(|n| tally.count(&format!("v{n}"))).sum::<u64>();
    {
        let tally = Tally::start(folder.path(), &[]);
        for _ in 0..2 {
            let answer = stamped(&tally, "file", "0", lines.as_bytes());
            assert_eq!((answer.status, &answer.json()["accepted"]), (202, &json!(200)));
            assert_eq!(answer.json()["rejected"][0]["code"], "event_too_old");
        }
        // It goes on, and past all of that.
        assert_eq!(stamped(&tally, "file", "300", b"{\"item\":\"v0\"}\n").status, 202);
        tally.wait_until("all counted", || figures(&tally) == (200, 201));
        // Nothing but refused events is an answer that is remembered too.
        let all_old = format!("{{\"item\":\"v1\",{old}}}\n");
        assert_eq!(stamped(&tally, "other", "5", all_old.as_bytes()).code(), "all_rejected");
        assert_eq!(stamped(&tally, "other", "6", b"{\"item\":\"v1\"}\n").status, 202);
        tally.wait_until("counted", || total(&tally) == 202);
        assert_eq!(tally.stop(), Some(0));
    }
    let tally = Tally::start(folder.path(), &["--max-event-age", "40d"]);
    for _ in 0..2 {
        let answer = stamped(&tally, "file", "0", lines.as_bytes());
        assert_eq!(answer.json()["accepted"], 300);
        let all_old = format!("{{\"item\":\"v1\",{old}}}\n");
        assert_eq!(stamped(&tally, "other", "5", all_old.as_bytes()).status, 202);
    }
    tally.wait_until("the old ones counted", || total(&tally) >= 303);
    tally.wait_until("the repeats are judged", || figures(&tally).0 >= 501);
    assert_eq!(total(&tally), 303);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tally"))
        .args(["recount", "--json", "--url", &format!("http://{}", tally.addr)])
        .args(["--start", &at.to_string(), "--end", &minute_ago(0).to_string()])
        .output()
        .expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("an answer");
    assert_eq!((&answer["state"], &answer["differences"]), (&json!("done"), &json!(0)), "{answer}");
}
