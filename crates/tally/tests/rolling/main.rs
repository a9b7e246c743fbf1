//! An upgrade as operators make it: two gateways and two processors are stopped and started again, one after the
//! other, under load, on a log in Kafka and counters in Cassandra that `make test-rolling` starts and names.
//! Nothing is lost, nothing counts twice, and a client that knows both gateways sees no error.

#[path = "../role/mod.rs"]
#[expect(dead_code, reason = "others do more with a role")]
mod role;
#[path = "../real/server.rs"]
#[expect(dead_code, reason = "others need more of a server")]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::client::tracker::{Event, Tracker, TrackerMetrics, TrackerOptions};
use role::Role;
use serde_json::Value;
use server::{TALLY, wait_for};

/// Of the roles that there are twice.
const NUMBERS: [usize; 2] = [1, 2];
const ITEMS: u64 = 40;
const PARTITIONS: usize = 4;
/// Events of a tick, and ticks a second.
const AT_ONCE: u64 = 10;
const TICK: Duration = Duration::from_millis(20);
/// One event of so many is sent twice.
const REPEATED: u64 = 20;
/// So many events must get through while a process is away.
const MEANWHILE: u64 = 1_000;

fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: make test-rolling"))
}

/// What has been tracked: of each item the count, and the sum in quarters.
type Counts = BTreeMap<u64, (u64, u64)>;

/// Tracks events until it is told to stop.
async fn load(tracker: Tracker, is_over: Arc<AtomicBool>) -> (Counts, TrackerMetrics) {
    let (mut counts, mut ticks) = (Counts::new(), tokio::time::interval(TICK));
    let mut next = 0;
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        for n in next..next + AT_ONCE {
            let (item, quarters) = (n % ITEMS, n % 9);
            let event = Event::new(format!("item-{item}")).id(format!("e{n}"));
            let event = event.value(quarters as f64 / 4.0);
            for _ in 0..1 + u64::from(n % REPEATED == 0) {
                tracker.track(&event).expect("there is room, and the tracker is open");
            }
            let counted = counts.entry(item).or_default();
            *counted = (counted.0 + 1, counted.1 + quarters);
        }
        next += AT_ONCE;
    }
    tracker.flush().await;
    (counts, tracker.close(Duration::from_secs(60)).await)
}

/// Flags of all roles, and where they keep what they do not share.
struct Cluster<'a> {
    log: String,
    store: String,
    scratch: &'a Path,
}

impl Cluster<'_> {
    fn start(&self, kind: &str, number: usize, port: u16) -> Role {
        let own: &[&str] = match kind {
            "gateway" => &["--drain-delay", "500ms", "--partitions", "4"],
            "processor" => &["--store", &self.store, "--flush-interval", "400ms"],
            _ => &["--store", &self.store],
        };
        let flags = [&["--log", &self.log, "--archive", "none"], own].concat();
        Role::start(kind, port, &self.scratch.join(format!("{kind}-{number}")), &flags)
    }
}

fn counts(query: &Role) -> Vec<Value> {
    let items: String = (0..ITEMS).map(|item| format!("&item=item-{item}")).collect();
    let text = query.get(&format!("/v1/counts?type=view{items}")).unwrap_or_default();
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    answer["counts"].as_array().cloned().unwrap_or_default()
}

fn counted(query: &Role) -> u64 {
    counts(query).iter().filter_map(|row| row["count"].as_u64()).sum()
}

#[test]
fn a_rolling_restart_loses_and_doubles_nothing_and_no_client_sees_it() {
    let scratch = tempfile::tempdir().expect("a folder");
    let topic = format!("rolling-{}", std::process::id());
    let cluster = Cluster {
        log: format!("kafka://{}/{topic}?group={topic}", named("TALLY_TEST_KAFKA")),
        store: format!("cassandra://{}/rolling?timeout_ms=60000", named("TALLY_TEST_CASSANDRA")),
        scratch: scratch.path(),
    };
    let made = Command::new(TALLY)
        .args(["store", "init", "--replication", "1", "--store", &cluster.store])
        .output()
        .expect("the command runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let start = |kind| NUMBERS.map(|number| cluster.start(kind, number, 0));
    let mut gateways: Vec<Role> = start("gateway").into();
    let mut processors: Vec<Role> = start("processor").into();
    let query = cluster.start("query", 1, 0);
    share_the_work(&processors);

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut options = TrackerOptions::new(gateways.iter().map(|gateway| gateway.url.as_str()));
    options.first_wait = Duration::from_millis(20);
    options.longest_wait = Duration::from_millis(500);
    let tracker = runtime.block_on(Tracker::start(options)).expect("it starts");
    let is_over = Arc::new(AtomicBool::new(false));
    let loading = runtime.spawn(load(tracker.clone(), is_over.clone()));
    let accepted = || tracker.metrics().accepted;
    wait_for("events are accepted and counted", || accepted() > 0 && counted(&query) > 0);

    for number in NUMBERS {
        // While one gateway is away the other takes what comes.
        restart(&cluster, "gateway", number, &mut gateways, accepted);
        // While one processor is away the other counts what comes.
        restart(&cluster, "processor", number, &mut processors, || counted(&query));
        share_the_work(&processors);
    }

    is_over.store(true, Ordering::Relaxed);
    let (expected, metrics) = runtime.block_on(loading).expect("the load ends");
    println!("{metrics:?}");
    let tracked: u64 = expected.values().map(|(count, _)| count).sum();
    assert_eq!((metrics.dropped, metrics.lost), (0, 0), "no event met an error: {metrics:?}");
    assert!(metrics.rejected.is_empty(), "{metrics:?}");
    assert_eq!(metrics.accepted, metrics.tracked);
    assert!(metrics.tracked > tracked, "some were sent twice");
    wait_for("all is counted", || counted(&query) >= tracked);
    assert_counts(&query, &expected);
    // Whatever they still had to write down changes nothing.
    assert!(processors.into_iter().all(Role::stop) && gateways.into_iter().all(Role::stop));
    assert_counts(&query, &expected);
    assert!(query.stop(), "SIGTERM ends it with status 0");
}

/// Both processors have partitions, and together all of them.
fn share_the_work(processors: &[Role]) {
    wait_for("the processors share the partitions", || {
        let of: Vec<_> = processors.iter().map(|of| of.partitions().len()).collect();
        of.iter().all(|partitions| *partitions > 0) && of.iter().sum::<usize>() == PARTITIONS
    });
}

/// Stops the role that has run the longest as an operator does, lets events come meanwhile, and starts it
/// again where it was.
fn restart(
    cluster: &Cluster<'_>,
    kind: &str,
    number: usize,
    roles: &mut Vec<Role>,
    progress: impl Fn() -> u64,
) {
    let (port, stopped) = (roles[0].port(), roles.remove(0));
    let before = progress();
    assert!(stopped.stop(), "SIGTERM ends a {kind} with status 0");
    wait_for("the other one does the work", || progress() >= before + MEANWHILE);
    roles.push(cluster.start(kind, number, port));
    let before = progress();
    wait_for("both do the work", || progress() >= before + MEANWHILE / 2);
}

fn assert_counts(query: &Role, expected: &Counts) {
    for (item, (count, quarters)) in expected {
        let path = format!("/v1/items/item-{item}/stats?step=total&function=count,sum");
        let text = query.get(&path).expect("an answer");
        let total = serde_json::from_str::<Value>(&text).expect("JSON")["total"].clone();
        let sum = total["sum"].as_f64().expect("a number");
        assert_eq!(
            (&total["count"], sum * 4.0),
            (&(*count).into(), *quarters as f64),
            "item-{item}"
        );
    }
}
