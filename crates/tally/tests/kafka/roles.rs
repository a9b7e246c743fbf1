//! Gateways and processors as processes of their own on one topic.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::role::Role;
use super::server::{Server, TALLY, wait_for};
use super::{event_line, events_file, place, send, wait_for_count};

/// A client that has something to send until it is told to end, however fast the machine is.
struct Endless {
    client: Child,
    is_enough: Arc<AtomicBool>,
    /// Writes events; how many it wrote.
    writer: JoinHandle<u64>,
}

impl Endless {
    fn start(prefix: &'static str, items: u64, url: &str) -> Self {
        let mut client = super::client(url)
            .args(["--format", "ndjson", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let mut input = client.stdin.take().expect("piped");
        let is_enough = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_enough);
        let writer = std::thread::spawn(move || {
            let mut written = 0;
            while !is_over.load(Ordering::Relaxed) {
                let line = event_line(prefix, written, items);
                input.write_all(line.as_bytes()).expect("the client reads until its input ends");
                written += 1;
            }
            written
        });
        Self { client, is_enough, writer }
    }

    /// How many events it has sent, all of them acknowledged.
    fn end(self) -> u64 {
        self.is_enough.store(true, Ordering::Relaxed);
        let written = self.writer.join().expect("all is written");
        let output = self.client.wait_with_output().expect("the client ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        written
    }
}

/// Two clients send through a gateway each, both gateways are killed again and again, and a server
/// that shares the topic counts every event once.
#[test]
fn gateways_that_are_killed_lose_and_double_nothing() {
    const BETWEEN: u64 = 5_000;
    const ITEMS: u64 = 53;
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, _) = place();
    let flags = ["--log", &place, "--partitions", "3"];
    let server = Server::start(&scratch.path().join("serve"), &flags);
    let gateway =
        |name: &str, port| Role::start("gateway", port, &scratch.path().join(name), &flags);
    let mut gateways = ["one", "two"].map(|name| gateway(name, 0));
    let clients = [("one", 0), ("two", 1)]
        .map(|(name, at): (_, usize)| Endless::start(name, ITEMS, &gateways[at].url));
    for kill in 1..=4_u64 {
        wait_for("enough is counted", || {
            server.metric("tally_events_counted_total") >= (kill * BETWEEN) as f64
        });
        let (at, name) = if kill % 2 == 0 { (0, "one") } else { (1, "two") };
        let port = gateways[at].kill();
        gateways[at] = gateway(name, port);
    }
    let sent = clients.map(Endless::end);
    for item in 0..ITEMS {
        let expected = sent.iter().map(|&sent| sent.saturating_sub(item).div_ceil(ITEMS)).sum();
        wait_for_count(&server, &format!("item-{item}"), expected);
    }
    assert!(
        gateways.into_iter().all(Role::stop) && server.stop(),
        "SIGTERM ends all with status 0"
    );
}

/// A processor is a member of the group, flushes when it stops, and goes on where it was.
#[test]
fn a_processor_counts_and_goes_on_after_kill_and_stop() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, topic) = place();
    let flags = ["--log", &place, "--partitions", "3", "--flush-interval", "200ms"];
    let group = format!("{place}?group={topic}");
    let counters = scratch.path().join("counters");
    let processor = |flags: &[&str]| {
        let group = ["--log", &group, "--flush-interval", flags[0]];
        Role::start("processor", 0, &counters, &group)
    };
    let gateway = Role::start("gateway", 0, &scratch.path().join("gateway"), &flags);
    // Whoever keeps no state sends all of a file again.
    let post = |count: u64, state: &str| {
        let file = events_file(scratch.path(), "p", count, 11);
        let state = scratch.path().join(state);
        let output = send(&file, &gateway.url, &state).wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut first = processor(&["200ms"]);
    wait_for("all partitions are assigned", || first.partitions().len() == 3);
    post(500, "once");
    wait_for("they are counted", || first.counted() == 500);
    wait_for("they are flushed", || {
        first.partitions().iter().all(|p| p["next_offset"] == p["checkpoint_offset"])
    });
    first.kill();
    // Who was killed leaves the group after its session; what was flushed is not counted again.
    let second = processor(&["10m"]);
    wait_for("all partitions are assigned again", || second.partitions().len() == 3);
    wait_for("nothing is left to count", || {
        second.partitions().iter().all(|p| p["lag_events"] == 0)
    });
    assert_eq!(second.counted(), 0, "the store goes with the offsets");
    // The same ids again are repeats, known from the log.
    post(500, "again");
    wait_for("they are judged", || {
        let duplicates = |p: &Value| p["duplicates"].as_u64().unwrap_or(0);
        second.partitions().iter().map(duplicates).sum::<u64>() == 500
    });
    let ends: Vec<Value> = second.partitions().iter().map(|p| p["next_offset"].clone()).collect();
    assert!(second.stop(), "SIGTERM ends it with status 0");
    // What it has flushed can be asked for without counting; what came since is not in.
    let query = Role::start("query", 0, &counters, &["--log", &group]);
    let total = |query: &Role| {
        let answer = query.get("/v1/items/item-3/count").expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        (answer["count"].as_u64(), answer["as_of"].as_str().expect("a time").to_owned())
    };
    let (before, sent_at) = total(&query);
    assert_eq!(before, Some((500_u64 - 3).div_ceil(11)));
    let file = events_file(scratch.path(), "later", 300, 11);
    let state = scratch.path().join("later");
    let output = send(&file, &gateway.url, &state).wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("the log is known to be further", || {
        query.partitions().iter().any(|p| p["lag_events"].as_u64() > Some(0))
    });
    let (after, until) = total(&query);
    assert_eq!(after, before, "what nobody has flushed is not in");
    assert!(until >= sent_at, "what was known to be counted stays known: {until}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(total(&query), (after, until), "and the answer says until when it counts");
    let top = query.get("/v1/top?window=24h&limit=3").expect("an answer");
    assert!(top.contains("item-0"), "{top}");
    assert!(query.stop(), "SIGTERM ends it with status 0");
    let third = processor(&["10m"]);
    wait_for("all partitions are assigned at once", || third.partitions().len() == 3);
    let begun: Vec<Value> =
        third.partitions().iter().map(|p| p["checkpoint_offset"].clone()).collect();
    let is_behind = |(begun, end): (&Value, &Value)| begun.as_u64() >= end.as_u64();
    assert!(begun.iter().zip(&ends).all(is_behind), "what was counted was flushed at the stop");
    wait_for("what came meanwhile is counted", || third.counted() == 300);
}

/// A processor that stands still for longer than its session has lost its partitions when it wakes
/// up, and with them what it had not flushed: it begins again where the store is.
#[test]
fn a_processor_that_stood_still_counts_nothing_twice() {
    const EVENTS: u64 = 30_000;
    const ITEMS: u64 = 17;
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, topic) = place();
    let group = format!("{place}?group={topic}&session.timeout.ms=6000");
    let counters = scratch.path().join("counters");
    let flags = ["--log", &group, "--partitions", "3"];
    let gateway = Role::start("gateway", 0, &scratch.path().join("gateway"), &flags);
    let processor =
        Role::start("processor", 0, &counters, &["--log", &group, "--flush-interval", "700ms"]);
    let file = events_file(scratch.path(), "z", EVENTS, ITEMS);
    let client = send(&file, &gateway.url, scratch.path());
    wait_for("some are counted", || processor.counted() >= EVENTS / 8);
    let signal = |name: &str| {
        let pid = processor.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    };
    signal("-STOP");
    // What is tested is that the session is over: nobody says so but time.
    std::thread::sleep(Duration::from_secs(9));
    signal("-CONT");
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait_for("it has its partitions again, and counts to their ends", || {
        let partitions = processor.partitions();
        partitions.len() == 3 && partitions.iter().all(|p| p["lag_events"] == 0)
    });
    assert!(processor.stop(), "SIGTERM ends it with status 0");
    let query = Role::start("query", 0, &counters, &["--log", &group]);
    for item in 0..ITEMS {
        let answer = query.get(&format!("/v1/items/item-{item}/count")).expect("an answer");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["count"], (EVENTS - item).div_ceil(ITEMS), "item-{item}");
    }
}

/// A role without a log that is shared says what to do.
#[test]
fn a_role_needs_a_log_that_is_shared() {
    let scratch = tempfile::tempdir().expect("a folder");
    for role in ["gateway", "processor", "query"] {
        let output = Command::new(TALLY)
            .args([role, "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(scratch.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("--log kafka://"), "{error}");
    }
}
