//! The program with its log in Kafka, on a real broker: `make test-kafka` starts one, and says where
//! it is and what produces messages as others do.

mod outage;
mod roles;
mod routing;
mod shared;

#[path = "../role/mod.rs"]
mod role;
#[path = "../real/server.rs"]
#[expect(dead_code, reason = "these tests need less of a server than others do")]
mod server;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use server::{Server, TALLY, free_port, wait_for};

fn broker() -> String {
    std::env::var("TALLY_TEST_KAFKA").expect("host:port of a broker; `make test-kafka` starts one")
}

/// A place of its own for a log.
fn place() -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let topic = format!("tally-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    (format!("kafka://{}/{topic}", broker()), topic)
}

/// Produces lines as messages to partition 0, as others do.
fn produce(topic: &str, lines: &str) {
    let program = std::env::var("TALLY_TEST_PRODUCE").expect("the program that produces");
    let mut child = Command::new(program)
        .args([&broker(), topic, "0"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "everything is produced");
}

fn json(server: &Server, path: &str) -> Value {
    let text = server.get(path).unwrap_or_else(|| panic!("{path} has no answer"));
    serde_json::from_str(&text).expect("JSON")
}

fn count(server: &Server, item: &str) -> u64 {
    json(server, &format!("/v1/items/{item}/count"))["count"].as_u64().expect("a number")
}

fn wait_for_count(server: &Server, item: &str, expected: u64) {
    wait_for(&format!("{item} counts {expected}"), || count(server, item) == expected);
}

#[test]
fn counts_and_finds_everything_again_after_a_restart() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, _) = place();
    let flags = ["--log", &place, "--partitions", "3"];
    let server = Server::start(scratch.path(), &flags);
    let post = |server: &Server, id: &str| {
        let output = Command::new("curl")
            .args(["-sf", "-D", "-", "-H", "Content-Type: application/json", "-d"])
            .arg(format!(r#"{{"item":"v","id":"{id}"}}"#))
            .arg(format!("{}/v1/events", server.url))
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).to_lowercase()
    };
    let answer = post(&server, "a");
    assert!(answer.contains("tally-durability: replicated"), "{answer}");
    post(&server, "a");
    post(&server, "b");
    wait_for_count(&server, "v", 2);
    server.kill();
    // Nothing was flushed: it is counted again from the topic, and repeats are known.
    let server = Server::start(scratch.path(), &flags);
    assert_eq!(count(&server, "v"), 2);
    post(&server, "a");
    post(&server, "c");
    wait_for_count(&server, "v", 3);
    assert!(server.stop(), "SIGTERM ends it with status 0");
    // With its counters it goes on; with others' it does not.
    let server = Server::start(scratch.path(), &["--log", &place]);
    assert_eq!(count(&server, "v"), 3);
    drop(server);
    let refused = |flags: &[&str]| {
        let output = Command::new(TALLY)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(scratch.path())
            .args(flags)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&[]);
    assert!(error.contains("the setting `log` as it was"), "{error}");
    let error = refused(&["--log", &self::place().0]);
    assert!(error.contains("the counters of another log"), "{error}");
}

#[test]
fn what_others_produce_is_counted_or_becomes_a_dead_letter() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, topic) = place();
    let server = Server::start(
        scratch.path(),
        &["--log", &place, "--partitions", "1", "--flush-interval", "100ms"],
    );
    produce(
        &topic,
        "{\"item\":\"theirs\",\"id\":\"1\",\"value\":2.5}\n{\"item\":\"theirs\",\"id\":\"1\"}\n",
    );
    // An event of our schema: no id, `theirs`, `view`, no time, no value, no attributes, no source.
    produce(&topic, "hex:0000000001000c746865697273087669657700000000\n");
    produce(
        &topic,
        "garbage\n\n{\"item\":\"old\",\"time\":1}\nhex:00000000ff00\n{\"item\":\"theirs\"}\n",
    );
    wait_for_count(&server, "theirs", 3);
    let letters = || json(&server, "/v1/admin/dead-letters");
    wait_for("the dead letters are stored", || {
        letters()["dead_letters"].as_array().is_some_and(|letters| letters.len() == 4)
    });
    let text = letters().to_string();
    for reason in [
        "neither a JSON object nor Avro",
        "has no value",
        "older than max_event_age",
        "schema is not known",
    ] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

/// A client that retries sends through a server that is killed again and again.
#[test]
fn killed_under_load_counts_every_event_once() {
    const EVENTS: u64 = 60_000;
    const ITEMS: u64 = 97;
    const KILLS: u64 = 6;
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, _) = place();
    let flags = ["--log", &place, "--partitions", "4", "--flush-interval", "300ms"];
    let port = free_port();
    let data_dir = scratch.path().join("data");
    let mut server = Server::start_on(port, &data_dir, &flags);
    let mut client =
        send(&events_file(scratch.path(), "e", EVENTS, ITEMS), &server.url, scratch.path());
    for kill in 1..=KILLS {
        let accepted = || {
            let top = server.get("/v1/top?window=7d&limit=1000").unwrap_or_default();
            let top: Value = serde_json::from_str(&top).unwrap_or_default();
            let counts = top["items"].as_array().cloned().unwrap_or_default();
            counts.iter().map(|item| item["count"].as_u64().unwrap_or(0)).sum::<u64>()
        };
        let mut ended = false;
        wait_for("enough is counted", || {
            ended = client.try_wait().expect("it can be asked").is_some();
            ended || accepted() >= kill * EVENTS / (3 * KILLS)
        });
        assert!(!ended, "the client ended before kill {kill}");
        server.kill();
        server = Server::start_on(port, &data_dir, &flags);
    }
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let check = |server: &Server| {
        wait_for("everything is counted", || server.metric("tally_partition_lag_events") == 0.0);
        for item in 0..ITEMS {
            let expected = (EVENTS - item).div_ceil(ITEMS);
            assert_eq!(count(server, &format!("item-{item}")), expected, "item-{item}");
        }
    };
    check(&server);
    server.kill();
    check(&Server::start_on(port, &data_dir, &flags));
}

/// An event of one of so many items, as a line.
fn event_line(prefix: &str, number: u64, items: u64) -> String {
    format!("{{\"item\":\"item-{}\",\"id\":\"{prefix}-{number}\"}}\n", number % items)
}

/// NDJSON with so many events over so many items, whose ids begin so.
fn events_file(dir: &Path, prefix: &str, events: u64, items: u64) -> std::path::PathBuf {
    let text: String = (0..events).map(|number| event_line(prefix, number, items)).collect();
    let file = dir.join(format!("{prefix}.ndjson"));
    std::fs::write(&file, text).expect("written");
    file
}

/// The client that retries, yet to be told what to send.
fn client(url: &str) -> Command {
    let mut client = Command::new(TALLY);
    client
        .args(["send", "--retry-for", "120", "--batch", "100", "--in-flight", "2"])
        .env("TALLY_URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    client
}

fn send(file: &Path, url: &str, state: &Path) -> std::process::Child {
    client(url).arg(file).env("XDG_STATE_HOME", state).spawn().expect("the client starts")
}
