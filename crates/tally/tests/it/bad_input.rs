//! Every row of the contract's rules: the promised status and code, and nothing is counted.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Answer, Tally};

/// What the server may take in the worst of these tests, in bytes.
const MEMORY_MAX: u64 = 500 << 20;

fn total_accepted(tally: &Tally) -> u64 {
    let metrics = String::from_utf8(tally.get("/metrics").body).expect("text");
    let line = metrics.lines().find_map(|l| l.strip_prefix("tally_events_accepted_total "));
    line.expect("the metric is there").parse().expect("a number")
}

#[test]
fn each_broken_rule_is_refused_with_its_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let long = |n: usize| "x".repeat(n);
    let with = |field: &str, value: Value| {
        let mut event = json!({"item": "v"});
        event[field] = value;
        event
    };
    let pairs: serde_json::Map<String, Value> =
        (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    let cases = [
        (json!({}), "invalid_item"),
        (with("item", json!("")), "invalid_item"),
        (with("item", json!(long(257))), "invalid_item"),
        (with("item", json!("a\u{1}b")), "invalid_item"),
        (with("item", json!("a\u{7f}b")), "invalid_item"),
        (with("item", json!(7)), "invalid_item"),
        (with("type", json!("")), "invalid_type"),
        (with("type", json!("Like")), "invalid_type"),
        (with("type", json!(long(65))), "invalid_type"),
        (with("id", json!("")), "invalid_id"),
        (with("id", json!(long(65))), "invalid_id"),
        (with("id", json!("ü")), "invalid_id"),
        (with("time", json!("tomorrow")), "invalid_time"),
        (with("time", json!("2001-01-01T00:00:00Z")), "event_too_old"),
        (with("time", json!("2999-01-01T00:00:00Z")), "event_in_future"),
        (with("value", json!("12")), "invalid_value"),
        (with("value", json!(9.2e12)), "invalid_value"),
        (with("attributes", json!([])), "invalid_attributes"),
        (with("attributes", json!({"k": 1})), "invalid_attributes"),
        (with("attributes", Value::Object(pairs)), "invalid_attributes"),
        (with("attributes", json!({long(65): "v"})), "invalid_attributes"),
        (with("attributes", json!({"k": long(257)})), "invalid_attributes"),
    ];
    for (event, code) in &cases {
        let answer = tally.send_json(event);
        let problem = answer.json();
        assert_eq!((answer.status, answer.code().as_str()), (422, "all_rejected"), "{event}");
        assert_eq!(problem["rejected"][0]["code"], *code, "{event}");
    }
    let mut batch: Vec<Value> = cases.iter().map(|(event, _)| event.clone()).collect();
    assert_eq!(total_accepted(&tally), 0);
    batch.push(json!({"item": "good"}));
    let answer = tally.send_json(&Value::Array(batch)).json();
    assert_eq!(answer["accepted"], 1);
    let codes = answer["rejected"].as_array().expect("verdicts").iter();
    assert!(codes.map(|verdict| &verdict["code"]).eq(cases.iter().map(|(_, code)| code)));
    tally.wait_until("counted", || tally.count("good") == 1);
    assert_eq!(total_accepted(&tally), 1);
}

#[test]
fn each_bad_body_is_refused_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let kind = |kind: &str| format!("content-type: {kind}\r\n");
    let (json, ndjson) = (kind("application/json"), kind("application/x-ndjson"));
    let gzip = format!("{json}content-encoding: gzip\r\n");
    let deflate = format!("{json}content-encoding: deflate\r\n");
    let good = br#"{"item":"v"}"#;
    let many = "{\"item\":\"v\"}\n".repeat(100_001);
    let large = vec![b' '; (16 << 20) + 1];
    let cases: [(&str, &[u8], u16, &str); 11] = [
        (&json, b"{", 400, "invalid_json"),
        (&json, br#"{"item":"v","value":NaN}"#, 400, "invalid_json"),
        (&json, br#"{"item":"v","value":-Infinity}"#, 400, "invalid_json"),
        (&json, br#"[{"item":"v"},{]"#, 400, "invalid_json"),
        (&json, b"{\"item\":\"v\xff\"}", 400, "unreadable_body"),
        (&gzip, good, 400, "unreadable_body"),
        (&kind("application/avro"), good, 400, "invalid_avro"),
        (&kind("text/plain"), good, 415, "unsupported_media_type"),
        (&deflate, good, 415, "unsupported_encoding"),
        (&ndjson, many.as_bytes(), 413, "too_many_events"),
        (&json, &large, 413, "body_too_large"),
    ];
    for (headers, body, status, code) in cases {
        let answer = tally.post("/v1/events", headers, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    }
    assert_eq!((total_accepted(&tally), tally.count("v")), (0, 0));
}

/// Bodies that change a server are JSON and say so: a page that a browser shows cannot send them to another
/// server unasked. Nothing is done before that is known.
#[test]
fn administration_takes_json_that_says_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let (json, folder) = ("content-type: application/json", dir.path().join("backup"));
    let backup = serde_json::json!({ "folder": folder }).to_string();
    let cases = [
        ("POST", "/v1/admin/backups", backup.as_str()),
        ("POST", "/v1/admin/recounts", r#"{"start":0,"end":3600000}"#),
        ("POST", "/v1/admin/keys", r#"{"name":"mine","scopes":["admin"]}"#),
        ("POST", "/v1/admin/routing", r#"{"partitions":4}"#),
        ("PUT", "/v1/admin/log-level", r#"{"filter":"off"}"#),
        ("POST", "/v1/admin/dead-letters/0/1/replay", r#"{"item":"a"}"#),
        ("PUT", "/v1/items/a", r#"{"title":"A"}"#),
    ];
    let send = |method: &str, path: &str, kind: &str, body: &str| {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n");
        tally.raw(format!("{head}{kind}\r\n\r\n{body}").as_bytes())
    };
    for (method, path, body) in cases {
        for kind in ["accept: */*", "content-type: text/plain", "content-type: application/jsonp"] {
            let refused = send(method, path, kind, body);
            let got = (refused.status, refused.code());
            assert_eq!(got, (415, "unsupported_media_type".to_owned()), "{path} {kind}");
        }
    }
    assert!(!folder.exists(), "nothing was begun");
    assert_eq!(tally.get("/v1/admin/keys").json()["keys"], serde_json::json!([]));
    assert_eq!(tally.get("/v1/admin/routing").json()["version"], 1);
    let charset = format!("{json}; charset=utf-8");
    assert_eq!(send("PUT", "/v1/admin/log-level", &charset, r#"{"filter":"info"}"#).status, 200);
    // Without a body there is nothing to say what it is.
    let replay = send("POST", "/v1/admin/dead-letters/0/1/replay", "accept: */*", "");
    assert_eq!((replay.status, replay.code().as_str()), (404, "not_found"));
}

#[test]
fn hostile_bodies_leave_it_answering_in_little_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let json = "content-type: application/json\r\n";
    let brackets = "[".repeat(100_000) + &"]".repeat(100_000);
    let answer = tally.post("/v1/events", json, brackets.as_bytes());
    assert!(matches!(answer.status, 400 | 422), "{}", answer.status);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..400 {
        encoder.write_all(&vec![b'['; 1 << 20]).expect("memory takes it");
    }
    let bomb = encoder.finish().expect("memory takes it");
    let gzip = format!("{json}content-encoding: gzip\r\n");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = tally.post("/v1/events", &gzip, &bomb);
                let code = answer.code();
                assert!(matches!(code.as_str(), "body_too_large" | "overloaded"), "{code}");
            });
        }
    });
    assert!(tally.memory_bytes() < MEMORY_MAX, "{} bytes", tally.memory_bytes());
    assert_eq!(tally.send_json(&json!({"item": "after"})).status, 202);
    tally.wait_until("counted", || tally.count("after") == 1);
}

#[test]
fn slow_clients_are_cut_off_and_hold_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let started = Instant::now();
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(tally.addr).expect("it listens");
            let head = "POST /v1/events HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n";
            stream.write_all(head.as_bytes()).expect("the head is sent");
            if n % 2 == 0 {
                stream.write_all(b"content-length: 16777216\r\n\r\n").expect("the head ends");
            }
            stream
        })
        .collect();
    // Meanwhile others are served, and the claimed lengths are not set aside.
    assert_eq!(tally.send_json(&json!({"item": "quick"})).status, 202);
    assert!(tally.memory_bytes() < MEMORY_MAX);
    for stream in slow.iter_mut().step_by(2) {
        stream.set_read_timeout(Some(Duration::from_secs(40))).expect("a timeout can be set");
        let answer = Answer::read(stream);
        assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
    }
    assert!(started.elapsed() < Duration::from_secs(40));
    assert_eq!(tally.get("/healthz").status, 200);
}

#[test]
fn bad_questions_name_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let many = "item=a&".repeat(501);
    let counts = format!("/v1/counts?{many}");
    let cases = [
        ("/v1/items/v/count?typ=view", 400, "invalid_parameter", "typ"),
        ("/v1/items/v/count?type=View", 422, "invalid_type", ""),
        ("/v1/items/a%01/count", 422, "invalid_item", ""),
        ("/v1/items/v/count?start=soon", 400, "invalid_parameter", "start"),
        ("/v1/items/v/count?start=2000&end=1000", 422, "invalid_range", ""),
        ("/v1/items/v/stats?step=week", 400, "invalid_parameter", "step"),
        ("/v1/items/v/stats?function=mean", 400, "invalid_parameter", "function"),
        ("/v1/items/v/stats?step=minute&start=0&end=604800000", 422, "too_many_points", ""),
        ("/v1/counts", 400, "invalid_parameter", "item"),
        (&counts, 422, "too_many_points", ""),
        ("/v1/top?limit=0", 400, "invalid_parameter", "limit"),
        ("/v1/top?limit=1001", 422, "too_many_points", "limit"),
        ("/v1/top?window=1h&start=0", 400, "invalid_parameter", "window"),
        ("/v1/top?window=long", 400, "invalid_parameter", "window"),
        ("/v1/nothing", 404, "not_found", ""),
        ("/v1/events", 405, "method_not_allowed", ""),
    ];
    for (path, status, code, named) in cases {
        let answer = tally.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(named), "{path}: {detail}");
    }
}
