//! The usual: send, ask, stop, start, ask again.

use serde_json::json;

use super::Tally;

#[test]
fn what_is_sent_is_counted_once_and_survives_a_stop() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let events = json!([
        {"id": "1", "item": "a", "value": 0.1},
        {"id": "2", "item": "a", "value": 0.2},
        {"id": "2", "item": "a", "value": 0.2},
        {"id": "3", "item": "b/c ü", "type": "like"},
        {"id": "4", "item": "b"},
    ]);
    assert_eq!(tally.send_json(&events).json()["accepted"], 5);
    assert_eq!(tally.post("/v1/items/b%2Fc%20%C3%BC/events?type=like", "", b"").status, 202);
    tally.wait_until("counted", || tally.count("b") == 1);
    tally.wait_until("counted", || tally.count("a") == 2);
    let like = "/v1/items/b%2Fc%20%C3%BC/count?type=like";
    tally.wait_until("counted", || tally.get(like).json()["count"] == 2);
    let stats = tally.get("/v1/items/a/stats?step=total&function=count,sum,average,min,max");
    let stats = String::from_utf8(stats.body).expect("text");
    let total = r#""total":{"count":2,"sum":0.3,"average":0.15,"min":0.1,"max":0.2}"#;
    assert!(stats.contains(total), "{stats}");
    let series = tally.get("/v1/items/a/stats").json();
    assert_eq!(series["series"].as_array().expect("points").len(), 24);
    let counts = tally.get("/v1/counts?item=b&item=a&item=none&item=a").json();
    let expected = json!([{"item": "b", "count": 1}, {"item": "a", "count": 2},
        {"item": "none", "count": 0}, {"item": "a", "count": 2}]);
    assert_eq!(counts["counts"], expected);
    let top = tally.get("/v1/top?limit=2").json();
    assert_eq!(top["items"], json!([{"item": "a", "count": 2}, {"item": "b", "count": 1}]));
    assert_eq!(tally.stop(), Some(0));

    let tally = Tally::start(dir.path(), &[]);
    assert_eq!((tally.count("a"), tally.count("b")), (2, 1));
    assert_eq!(tally.send_json(&events).json()["accepted"], 5);
    assert_eq!(tally.send_json(&json!([{"item": "last"}])).json()["accepted"], 1);
    tally.wait_until("counted", || tally.count("last") == 1);
    assert_eq!((tally.count("a"), tally.count("b")), (2, 1));
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/admin/partitions", "/"] {
        assert_eq!(tally.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_retry_with_the_same_key_counts_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let headers = "content-type: application/x-ndjson\r\nidempotency-key: k1\r\n";
    let body = b"{\"item\":\"a\"}\n{\"item\":\"a\"}\n";
    for _ in 0..3 {
        assert_eq!(tally.post("/v1/events", headers, body).status, 202);
    }
    let mark = json!([{"item": "a", "type": "mark"}]);
    assert_eq!(tally.send_json(&mark).status, 202);
    tally.wait_until("counted", || tally.get("/v1/items/a/count?type=mark").json()["count"] == 1);
    assert_eq!(tally.count("a"), 2);
}
