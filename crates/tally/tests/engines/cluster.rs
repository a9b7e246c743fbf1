//! Processes that share Kafka, Cassandra, Redis and a bucket: old days go to the bucket, and questions are answered
//! while the processors, the bucket or the cluster of counters are away.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use adapters::archive::Objects;
use model::TimestampMs;
use model::bucket::{DAY_MS, HOUR_MS};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::cassandra::{alone, named, signal, store};
use super::server::{Server, TALLY, wait_for};

const ITEMS: u64 = 7;
/// Events of each item on an old day, and as many of now.
const EACH: u64 = 40;
/// Longer ago than hours are kept.
const OLD_DAYS: i64 = 200;

/// Starts a process of the cluster on any free port and waits until it is ready.
fn start_role(role: &str, data_dir: &Path, flags: &[&str]) -> Server {
    Server::start_part(Command::new(TALLY), role, 0, data_dir, flags)
}

/// Where the processes meet.
struct Cluster {
    scratch: tempfile::TempDir,
    log: String,
    store: String,
    cache: String,
    archive: String,
}

impl Cluster {
    fn new() -> Self {
        let topic = format!("cluster-{}", std::process::id());
        let log = format!(
            "kafka://{}/{topic}?group={topic}&session.timeout.ms=6000",
            named("TALLY_TEST_KAFKA")
        );
        Self {
            scratch: tempfile::tempdir().expect("a folder"),
            log,
            store: store("cluster"),
            cache: named("TALLY_TEST_REDIS"),
            archive: format!("{}/cluster", named("TALLY_TEST_S3")),
        }
    }

    fn dir(&self) -> &Path {
        self.scratch.path()
    }

    fn gateway(&self) -> Server {
        let flags = ["--log", &self.log, "--partitions", "3", "--max-event-age", "3y"];
        start_role("gateway", &self.dir().join("gateway"), &flags)
    }

    fn processor(&self, name: &str, retention_hour: &str) -> Server {
        let own = ["--flush-interval", "500ms", "--retention-hour", retention_hour];
        self.start("processor", name, &own)
    }

    fn query(&self, name: &str) -> Server {
        self.start("query", name, &["--cache", &self.cache])
    }

    /// Starts one that reads or writes what is counted.
    fn start(&self, role: &str, name: &str, own: &[&str]) -> Server {
        let shared = [
            "--log",
            &self.log,
            "--partitions",
            "3",
            "--store",
            &self.store,
            "--archive",
            &self.archive,
        ];
        start_role(role, &self.dir().join(name), &[&shared[..], own].concat())
    }

    /// Sends events of each item, at a time or of now.
    fn send(&self, gateway: &Server, prefix: &str, each: u64, time: Option<i64>) {
        let mut text = String::new();
        for n in 0..each * ITEMS {
            let mut event =
                json!({"item": format!("item-{}", n % ITEMS), "id": format!("{prefix}-{n}")});
            if let Some(time) = time {
                event["time"] = (time + n as i64 % 20 * HOUR_MS).into();
            }
            text += &format!("{event}\n");
        }
        let file = self.dir().join(format!("{prefix}.ndjson"));
        std::fs::write(&file, text).expect("a file");
        let sent: Child = Command::new(TALLY)
            .args(["send", "--retry-for", "120"])
            .arg(file)
            .env("TALLY_URL", &gateway.url)
            .env("XDG_STATE_HOME", self.dir())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let output = sent.wait_with_output().expect("the client ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn answer(server: &Server, path: &str) -> Value {
    let text = server.get(path).unwrap_or_else(|| panic!("{path} has no answer"));
    serde_json::from_str(&text).expect("JSON")
}

fn partitions(server: &Server) -> Vec<Value> {
    let answer: Value = server
        .get("/v1/admin/partitions")
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    answer["partitions"].as_array().cloned().unwrap_or_default()
}

fn is_flushed(server: &Server) -> bool {
    partitions(server).iter().all(|p| p["checkpoint_offset"] == p["durable_offset"])
}

/// Every item's total is so much, and it is not stale.
fn wait_for_totals(query: &Server, each: u64) {
    for item in 0..ITEMS {
        let path = format!("/v1/items/item-{item}/count");
        wait_for(&format!("{path} is {each}"), || {
            let answer: Value = query
                .get(&path)
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            answer["count"] == each && answer["stale"].is_null()
        });
    }
}

#[test]
fn old_days_go_to_the_bucket_and_answers_go_on_whatever_is_away() {
    let _alone = alone();
    let cluster = Cluster::new();
    let gateway = cluster.gateway();
    let first = cluster.processor("first", "3y");
    wait_for("all partitions are assigned", || partitions(&first).len() == 3);
    wait_for("they are archived here", || {
        partitions(&first).iter().all(|p| p["archived_offset"] == 0)
    });
    let now = answer(&cluster.query("early"), "/v1/counts?item=a")["as_of"].clone();
    let now = TimestampMs::parse(now.as_str().expect("a time")).expect("a time");
    let day = now.floor(DAY_MS).0 - OLD_DAYS * DAY_MS;
    cluster.send(&gateway, "old", EACH, Some(day));
    cluster.send(&gateway, "new", EACH, None);
    let queries = ["one", "two"].map(|name| cluster.query(name));
    queries.iter().for_each(|query| wait_for_totals(query, 2 * EACH));
    assert!(first.stop(), "SIGTERM ends it with status 0");

    // Two others keep hours for the usual time: that day becomes cold.
    let others = ["second", "third"].map(|name| cluster.processor(name, "90d"));
    let range = format!("step=day&function=count&start={day}&end={}", day + DAY_MS);
    let stats = |item: u64| format!("/v1/items/item-{item}/stats?{range}");
    let bucket = Objects::open(&cluster.archive.parse().expect("a place")).expect("S3");
    let is_there = |kind: &str| {
        let objects = bucket.list("counters").expect("a list");
        objects.iter().any(|object| object.name.starts_with(&format!("counters/{kind}-")))
    };
    wait_for("the day is in the bucket", || is_there("manifest") && is_there("day"));
    assert_eq!(bucket.get("counters/manifest").expect("an answer"), None);
    wait_for("questions count it there", || {
        let asked = format!("/v1/items/item-0/explain?start={day}&end={}", day + DAY_MS);
        let explained: Value = queries[0]
            .get(&asked)
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        explained["cold"]["count"] == EACH
    });
    for item in 0..ITEMS {
        for query in &queries {
            assert_eq!(answer(query, &stats(item))["total"]["count"], EACH, "item-{item}");
        }
    }
    let owner = bucket.get("tally-archive").expect("an answer").expect("an owner");
    assert!(owner.starts_with(b"kafka "), "the archive is the log's, and no processor's");
    recounted(&queries[0], now);
    bucket_away(&cluster, &queries[1], &gateway, &stats(1));
    counters_away(&queries[0]);
    processors_away(&cluster, &queries, &gateway, others);
}

/// What came within the hours that are kept is what the raw events say, asked of a query node.
fn recounted(query: &Server, now: TimestampMs) {
    let start = TimestampMs(now.floor(HOUR_MS).0 - HOUR_MS).to_string();
    let end = TimestampMs(now.floor(HOUR_MS).0 + 2 * HOUR_MS).to_string();
    let recount = query.ask(&["recount", "--start", &start, "--end", &end]);
    assert_eq!(recount["differences"], 0, "{recount}");
    assert!(recount["events"].as_u64() >= Some(EACH * ITEMS), "{recount}");
    let cold = TimestampMs(now.floor(DAY_MS).0 - OLD_DAYS * DAY_MS);
    let (start, end) = (cold.to_string(), TimestampMs(cold.0 + HOUR_MS).to_string());
    let refused = query.tally(&["recount", "--start", &start, "--end", &end], &[]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("ask for a later start"), "{said}");
}

/// The bucket does not answer: what came today counts and is answered, and an old day as it was.
fn bucket_away(cluster: &Cluster, query: &Server, gateway: &Server, asked: &str) {
    signal("TALLY_TEST_S3_PID", Signal::STOP);
    cluster.send(gateway, "meanwhile", EACH, None);
    wait_for_totals(query, 3 * EACH);
    // It is in the shared cache, or was answered before: an old day does not change.
    assert_eq!(answer(query, asked)["total"]["count"], EACH);
    signal("TALLY_TEST_S3_PID", Signal::CONT);
}

/// The cluster of counters does not answer: answers are those of before, and say so.
fn counters_away(query: &Server) {
    let path = "/v1/items/item-0/count";
    assert!(answer(query, path)["stale"].is_null());
    signal("TALLY_TEST_CASSANDRA_PID", Signal::STOP);
    let stale = answer(query, path);
    let never_asked = query.get("/v1/items/never-asked/count");
    signal("TALLY_TEST_CASSANDRA_PID", Signal::CONT);
    assert_eq!((&stale["stale"], &stale["count"]), (&json!(true), &json!(3 * EACH)));
    assert!(stale["as_of"].is_string() && never_asked.is_none());
    assert!(query.metric("tally_stale_answers_total") > 0.0);
    wait_for_totals(query, 3 * EACH);
}

/// Nobody counts: answers are of what was flushed, and say so until somebody does again.
fn processors_away(
    cluster: &Cluster,
    queries: &[Server; 2],
    gateway: &Server,
    others: [Server; 2],
) {
    others.into_iter().for_each(Server::kill);
    cluster.send(gateway, "later", EACH, None);
    wait_for("answers are stale", || {
        let stale = answer(&queries[0], "/v1/items/item-2/count");
        assert_eq!(stale["count"], 3 * EACH);
        stale["stale"] == true
    });
    let last = cluster.processor("last", "90d");
    wait_for("its partitions are assigned", || partitions(&last).len() == 3);
    queries.iter().for_each(|query| wait_for_totals(query, 4 * EACH));
    wait_for("it is flushed", || is_flushed(&last));
    assert!(last.stop(), "SIGTERM ends it with status 0");
}
