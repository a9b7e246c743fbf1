//! All item details of a server, a line an item.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::Tally;
use super::items::put;

const NDJSON: &str = "content-type: application/x-ndjson\r\n";

/// The lines of an answer, whose chunks a client puts together.
fn lines(tally: &Tally, query: &str) -> Vec<Value> {
    let output = std::process::Command::new("curl")
        .args(["-sf", "-m", "60"])
        .arg(format!("http://{}/v1/admin/items{query}", tally.addr))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{query}: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["item"].as_str().expect("a name")).collect()
}

#[test]
fn items_are_listed_in_their_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    assert_eq!(lines(&tally, ""), [Value::Null; 0]);
    let full = json!({"item": "b/\"c\" ü", "title": "<b>T</b>", "channel": "ch/1",
        "channel_name": "Ch", "created": "2026-11-21T10:00:00.123Z", "attributes": {"k": "v"}});
    assert_eq!(put(&tally, "/v1/items/b%2F%22c%22%20%C3%BC", &full).status, 201);
    for (item, details) in [
        ("z", json!({})),
        ("%C3%A9", json!({"channel": "ch/1"})),
        ("a", json!({"channel": "ch/10", "title": "A"})),
    ] {
        assert_eq!(put(&tally, &format!("/v1/items/{item}"), &details).status, 201);
    }
    let check = |tally: &Tally| {
        let all = lines(tally, "");
        let bare = json!({"item": "z"});
        let expected = [json!({"item": "a", "channel": "ch/10", "title": "A"}), full.clone(), bare];
        assert_eq!(all[..3], expected);
        assert_eq!(all[3], json!({"item": "é", "channel": "ch/1"}));
        assert_eq!(all.len(), 4);
        assert_eq!(names(&lines(tally, "?after=b")), ["b/\"c\" ü", "z", "é"]);
        assert_eq!(names(&lines(tally, "?after=z")), ["é"]);
        assert_eq!(names(&lines(tally, "?channel=ch%2F1")), ["b/\"c\" ü", "é"]);
        assert_eq!(names(&lines(tally, "?channel=ch%2F1&after=b%2F%22c%22+%C3%BC")), ["é"]);
        assert_eq!(names(&lines(tally, "?channel=none")), [""; 0]);
    };
    check(&tally);
    assert_eq!(tally.stop(), Some(0));
    check(&Tally::start(dir.path(), &[]));
}

#[test]
fn wrong_questions_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    for query in ["?item=a", "?channel=", "?after=%00", "?after=a&after=b", "?channel=%FF"] {
        let refused = tally.get(&format!("/v1/admin/items{query}"));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "invalid_parameter"),
            "{query}"
        );
    }
}

/// More than is sent at a time, and clients that go away in between.
#[test]
fn many_items_come_whole_and_nobody_waits_for_who_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let title = "t".repeat(400);
    for batch in 0..3 {
        let item = |n| {
            let channel = if n % 2 == 0 { "even" } else { "odd" };
            let details =
                json!({"item": format!("i {batch} {n:05}"), "title": title, "channel": channel});
            format!("{details}\n")
        };
        let body: String = (0..10_000).map(item).collect();
        let sent = tally.post("/v1/items", NDJSON, body.as_bytes());
        assert_eq!(sent.json()["accepted"], 10_000);
    }
    for _ in 0..4 {
        tally.wait_until("it begins to answer", || tally.begins_to_answer("/v1/admin/items"));
    }
    let path = "/v1/admin/items?channel=none";
    tally.wait_until("those are forgotten", || tally.get(path).status == 200);
    let all = lines(&tally, "");
    assert_eq!(all.len(), 30_000);
    let all = names(&all);
    assert!(all.is_sorted_by(|one, next| one < next));
    let odd = lines(&tally, "?channel=odd&after=i+1+00000");
    assert_eq!(odd.len(), 10_000);
    assert_eq!(odd[0]["item"], "i 1 00001");
}

/// As many answers as there may be are on their way: the next is told to come again.
#[test]
fn lists_have_their_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(dir.path(), &[]);
    let title = "t".repeat(1_000);
    let item = |n| format!("{}\n", json!({"item": format!("{n:05}"), "title": title}));
    let body: String = (0..14_000).map(item).collect();
    assert_eq!(tally.post("/v1/items", NDJSON, body.as_bytes()).json()["accepted"], 14_000);
    // 14 MB each, which fit in no socket's buffers.
    let reading: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(tally.addr).expect("it listens");
            stream.write_all(b"GET /v1/admin/items HTTP/1.1\r\nhost: t\r\n\r\n").expect("sent");
            stream.read_exact(&mut [0; 1_000]).expect("it begins to answer");
            stream
        })
        .collect();
    let refused = tally.get("/v1/admin/items");
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    // Counters have room of their own.
    assert_eq!(tally.get("/v1/admin/counters?item=a").status, 200);
    drop(reading);
    tally.wait_until("there is room again", || {
        tally.get("/v1/admin/items?after=13999").status == 200
    });
}
