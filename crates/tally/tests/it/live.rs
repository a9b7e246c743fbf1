//! Live counts: what listeners hear, and that they hold nothing up.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, Tally};

/// A client that listens.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn start(tally: &Tally, path: &str) -> Self {
        let mut stream = TcpStream::connect(tally.addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let head = format!("GET {path} HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it takes a request");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).expect("a head"), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Self(reader)
    }

    /// The next line of the body, whatever chunk it is in; none at the end of the stream.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a line comes in time");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The data of the next event; none at the end of the stream.
    fn count(&mut self) -> Option<Value> {
        loop {
            let line = self.line()?;
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("data is JSON"));
            }
        }
    }
}

#[test]
fn listeners_hear_the_total_at_once_and_then_every_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let path = "/v1/items/a%2Fb/live";
    let mut views: Vec<Listener> = (0..20).map(|_| Listener::start(&tally, path)).collect();
    let mut likes = Listener::start(&tally, &format!("{path}?type=like"));
    for listener in views.iter_mut().chain([&mut likes]) {
        assert_eq!(listener.count().expect("an event")["count"], 0);
    }
    for total in [1, 2] {
        assert_eq!(tally.send_json(&json!({"item": "a/b"})).status, 202);
        for listener in &mut views {
            let event = listener.count().expect("an event");
            assert_eq!((&event["item"], &event["type"]), (&json!("a/b"), &json!("view")));
            assert_eq!(event["count"], total);
        }
    }
    assert_eq!(tally.send_json(&json!({"item": "a/b", "type": "like"})).status, 202);
    assert_eq!(likes.count().expect("an event")["count"], 1);
    // Whoever comes later hears what is so now.
    assert_eq!(Listener::start(&tally, path).count().expect("an event")["count"], 2);
    let metrics = String::from_utf8(tally.get("/metrics").body).expect("text");
    assert!(metrics.contains("tally_live_listeners 2"), "{metrics}");
}

#[test]
fn a_burst_is_pushed_at_most_four_times_a_second() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let mut listener = Listener::start(&tally, "/v1/items/a/live");
    assert_eq!(listener.count().expect("an event")["count"], 0);
    let started = Instant::now();
    for _ in 0..200 {
        assert_eq!(tally.send_json(&json!({"item": "a"})).status, 202);
    }
    let mut events = 0;
    let mut before = 0;
    while before < 200 {
        let count = listener.count().expect("an event")["count"].as_u64().expect("a count");
        assert!(count > before, "{count} after {before}");
        before = count;
        events += 1;
    }
    let quarters = started.elapsed().as_millis() / 250 + 1;
    assert!(events <= quarters, "{events} events in {quarters} quarters of a second");
}

#[test]
fn streams_end_when_the_server_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let mut listener = Listener::start(&tally, "/v1/items/a/live");
    assert_eq!(listener.count().expect("an event")["count"], 0);
    let started = Instant::now();
    assert_eq!(tally.stop(), Some(0));
    // Well before requests in flight are given up.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(listener.count(), None, "the stream ends, with its last chunk");
}

#[test]
fn what_is_no_item_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    for (path, status, code) in [
        ("/v1/items/a%00/live", 422, "invalid_item"),
        ("/v1/items/a/live?type=View", 422, "invalid_type"),
        ("/v1/items/a/live?start=0", 400, "invalid_parameter"),
    ] {
        let refused = tally.get(path);
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{path}");
    }
}
