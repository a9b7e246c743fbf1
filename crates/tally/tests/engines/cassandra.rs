//! `kill -9` of a server whose counters are in Cassandra, and Cassandra and Redis away for a while: every
//! event counts exactly once, and only speed is lost.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::server::{Server, TALLY, free_port, wait_for};

const KILLS: u64 = 5;
const ITEMS: u64 = 300;
const TYPES: [&str; 2] = ["view", "like"];

pub(super) fn named(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: scripts/test-cassandra"))
}

pub(super) fn signal(variable: &str, signal: Signal) {
    let pid = named(variable).parse().ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("it can be signalled");
}

/// Held by a test that stops engines, which others would miss.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A keyspace with tables, as `--store` names it.
pub(super) fn store(keyspace: &str) -> String {
    let store = format!("cassandra://{}/{keyspace}?timeout_ms=5000", named("TALLY_TEST_CASSANDRA"));
    let made = Command::new(TALLY)
        .args(["store", "init", "--replication", "1", "--store"])
        // The first statements of a new node take long.
        .arg(store.replace("5000", "60000"))
        .output()
        .expect("the command runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    store
}

/// What a file of events counts to: by type and item the count, and the sum in millionths.
type Counts = BTreeMap<(usize, String), (u64, i64)>;

/// Writes a file of events, some of them twice, and says what they count to.
fn events(path: &Path, seed: u64, count: u64) -> Counts {
    let (mut text, mut counts) = (String::new(), Counts::new());
    let mut state = seed;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for n in 0..count {
        // Few items have most of the events.
        let item = format!("item-{}", next(ITEMS).min(next(ITEMS)));
        let event_type = usize::from(next(5) == 0);
        let value = next(100_000) as i64;
        let line = format!(
            "{{\"id\":\"{seed}-{n}\",\"item\":\"{item}\",\"type\":\"{}\",\"value\":{}.{:03}}}",
            TYPES[event_type],
            value / 1_000,
            value % 1_000
        );
        for _ in 0..1 + next(20) / 19 {
            writeln!(text, "{line}").expect("a text");
        }
        let counted = counts.entry((event_type, item)).or_default();
        counted.0 += 1;
        counted.1 += value * 1_000;
    }
    std::fs::write(path, text).expect("a file");
    counts
}

fn add(counts: &mut Counts, more: Counts) {
    for (name, (count, sum)) in more {
        let counted = counts.entry(name).or_default();
        counted.0 += count;
        counted.1 += sum;
    }
}

fn send(server: &Server, scratch: &Path, file: &Path) -> Child {
    Command::new(TALLY)
        .args(["send", "--retry-for", "120", "--batch", "100", "--in-flight", "2"])
        .arg(file)
        .env("TALLY_URL", &server.url)
        .env("XDG_STATE_HOME", scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts")
}

fn ends_well(client: Child) {
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn json(server: &Server, path: &str) -> Option<Value> {
    serde_json::from_str(&server.get(path)?).ok()
}

/// Millionths of a decimal.
fn millionths(number: &Value) -> i64 {
    let text = number.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<6}").parse().expect("a decimal")
}

/// Totals, and what hours by time and hours by item add up to, are those of the oracle.
fn assert_counts(server: &Server, expected: &Counts) {
    for (at, event_type) in TYPES.iter().enumerate() {
        let of_type = || expected.iter().filter(move |((of, _), _)| *of == at);
        let path = format!("/v1/top?type={event_type}&window=24h&limit=1000");
        let top = json(server, &path).expect("an answer");
        let ranked: BTreeMap<String, u64> = top["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|ranked| {
                let item = ranked["item"].as_str().expect("an item").to_owned();
                (item, ranked["count"].as_u64().expect("a number"))
            })
            .collect();
        let counted = of_type().map(|((_, item), (count, _))| (item.clone(), *count));
        assert_eq!(ranked, counted.collect::<BTreeMap<_, _>>(), "{event_type}");
        for ((_, item), (count, sum)) in of_type() {
            let path = format!("/v1/items/{item}/stats?type={event_type}&function=count,sum");
            for step in ["total", "hour"] {
                let path = format!("{path}&step={step}");
                let answer = json(server, &path).unwrap_or_else(|| panic!("{path}: no answer"));
                let total = &answer["total"];
                assert_eq!(total["count"], *count, "{path}: {answer}");
                assert_eq!(millionths(&total["sum"]), *sum, "{path}: {answer}");
            }
        }
    }
}

fn all_counted(server: &Server) {
    wait_for("everything is counted", || server.metric("tally_partition_lag_events") == 0.0);
}

#[test]
fn counters_in_a_cluster_are_exact_whatever_dies() {
    let _alone = alone();
    let scratch = tempfile::tempdir().expect("a folder");
    let (store, cache) = (store("exact"), named("TALLY_TEST_REDIS"));
    let flags = [
        "--store",
        &store,
        "--cache",
        &cache,
        "--flush-interval",
        "1s",
        "--partitions",
        "2",
        "--audit-interval",
        "off",
        "--recount-interval",
        "off",
    ];
    let (data_dir, file) = (scratch.path().join("data"), scratch.path().join("events.ndjson"));
    let port = free_port();
    let mut server = Server::start_on(port, &data_dir, &flags);

    let events_in_file = 300_000;
    let mut expected = events(&file, 1, events_in_file);
    let mut client = send(&server, scratch.path(), &file);
    for kill in 0..KILLS {
        let share = (events_in_file / (2 * KILLS)) as f64;
        let mut ended = false;
        wait_for("enough events are accepted", || {
            ended = client.try_wait().expect("the client can be asked").is_some();
            ended || server.metric("tally_events_accepted_total") >= share
        });
        assert!(!ended, "the client ended before kill {kill}");
        server.kill();
        server = Server::start_on(port, &data_dir, &flags);
    }
    ends_well(client);
    all_counted(&server);
    assert_counts(&server, &expected);
    server.kill();
    let server = Server::start_on(port, &data_dir, &flags);
    assert_counts(&server, &expected);

    cluster_away(&server, scratch.path(), &mut expected);
    cache_away(&server, &expected);
    assert!(server.stop(), "SIGTERM ends it with status 0");
    // Nothing but what the cluster has: a server that has nothing to count.
    let server = Server::start_on(port, &data_dir, &flags);
    assert_counts(&server, &expected);
    assert!(server.stop(), "SIGTERM ends it with status 0");
}

/// The cluster does not answer for a while: events are taken all the same, and counted afterwards.
fn cluster_away(server: &Server, scratch: &Path, expected: &mut Counts) {
    let file = scratch.join("more.ndjson");
    add(expected, events(&file, 2, 10_000));
    signal("TALLY_TEST_CASSANDRA_PID", Signal::STOP);
    let begun = Instant::now();
    ends_well(send(server, scratch, &file));
    assert!(begun.elapsed() < Duration::from_secs(60), "nobody waited for the cluster");
    // Until a flush must have failed.
    std::thread::sleep(Duration::from_secs(12).saturating_sub(begun.elapsed()));
    signal("TALLY_TEST_CASSANDRA_PID", Signal::CONT);
    all_counted(server);
    wait_for("the cluster answers again", || server.get("/v1/items/item-0/count").is_some());
    assert_counts(server, expected);
    wait_for("it is flushed", || {
        let status = json(server, "/v1/admin/partitions").unwrap_or_default();
        let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
        let is_flushed = |p: &Value| p["checkpoint_offset"] == p["durable_offset"];
        !partitions.is_empty() && partitions.iter().all(is_flushed)
    });
    assert_counts(server, expected);
}

/// The cache does not answer for a while: answers are the same.
fn cache_away(server: &Server, expected: &Counts) {
    let top = || json(server, "/v1/top?type=view&window=24h&limit=5").expect("an answer");
    let before = top();
    signal("TALLY_TEST_REDIS_PID", Signal::STOP);
    let while_away = top();
    assert_counts(server, expected);
    signal("TALLY_TEST_REDIS_PID", Signal::CONT);
    assert_eq!(before["items"], while_away["items"]);
}

#[test]
fn a_store_that_cannot_be_used_says_what_to_do() {
    let scratch = tempfile::tempdir().expect("a folder");
    let store = format!("cassandra://{}/nothing_there", named("TALLY_TEST_CASSANDRA"));
    let started = Command::new(TALLY)
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &store, "--data-dir"])
        .arg(scratch.path())
        .output()
        .expect("the command runs");
    assert_eq!(started.status.code(), Some(1));
    let told = String::from_utf8_lossy(&started.stderr);
    assert!(told.contains("tally store init"), "{told}");
}
