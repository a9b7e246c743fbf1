//! Stamped requests are counted once, however late they are repeated.

use serde_json::{Value, json};

use super::{Answer, Tally};

fn stamped(tally: &Tally, source: &str, sequence: &str, body: &[u8]) -> Answer {
    let headers = format!(
        "content-type: application/x-ndjson\r\ntally-source: {source}\r\ntally-sequence: {sequence}\r\n"
    );
    tally.post("/v1/events", &headers, body)
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
