//! The tracking client against the real server, with a bad network between.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use api::client::tracker::{Event, Fate, SpoolOptions, Tracker, TrackerMetrics, TrackerOptions};

use super::Tally;
use super::proxy::Proxy;

const SECOND: Duration = Duration::from_secs(1);
/// Where the child finds the server and its spool.
const CHILD_URL: &str = "TALLY_TEST_CHILD_URL";
const CHILD_SPOOL: &str = "TALLY_TEST_CHILD_SPOOL";
/// So many events are said to be safe before the child is killed.
const SAFE: usize = 2_000;

fn options(url: &str, spool: Option<&Path>) -> TrackerOptions {
    let mut options = TrackerOptions::new([url]);
    options.batch_events = 100;
    options.linger = SECOND / 100;
    options.first_wait = SECOND / 100;
    options.longest_wait = SECOND / 10;
    options.endpoints.health_interval = SECOND / 10;
    options.endpoints.breaker.open_for = SECOND / 10;
    options.spool = spool.map(SpoolOptions::new);
    // So many faults need more than a fifth of repeats.
    options.retry_budget.ratio = 0.5;
    options.retry_budget.per_second = 50.0;
    options
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Sends events over a proxy, which is down for a while in the middle.
async fn send(tally: &Tally, seed: u64, events: u64, spool: Option<&Path>) -> TrackerMetrics {
    let proxy = Proxy::start(tally.addr, seed).await;
    let tracker = Tracker::start(options(&proxy.url, spool)).await.expect("it starts");
    for n in 0..events {
        let event = Event::new(format!("seed {seed} item {}", n % 10));
        tracker.track_wait(&event).await.expect("it is open");
        if n == events / 2 {
            proxy.set_down(true);
            tokio::time::sleep(SECOND / 2).await;
        }
        if n == events / 2 + events / 10 {
            proxy.set_down(false);
        }
    }
    tracker.flush().await;
    tracker.drained().await;
    let (kinds, faults) = proxy.faults();
    assert!(kinds == 9 && faults > events / 1_000, "{kinds} kinds, {faults} faults");
    tracker.close(SECOND * 60).await
}

fn total(tally: &Tally, seed: u64) -> u64 {
    (0..10).map(|n| tally.count(&format!("seed%20{seed}%20item%20{n}"))).sum()
}

#[test]
fn fifty_thousand_events_through_a_bad_network_are_counted_exactly_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    let spool = folder.path().join("spool");
    let runtime = runtime();
    for (seed, spool) in [(1, None), (2, Some(spool.as_path()))] {
        let metrics = runtime.block_on(send(&tally, seed, 25_000, spool));
        assert_eq!((metrics.accepted, metrics.lost), (25_000, 0), "seed {seed}: {metrics:?}");
        assert!(metrics.rejected.is_empty() && metrics.retries > 0, "seed {seed}: {metrics:?}");
        assert_eq!(metrics.spooled > 0, spool.is_some(), "seed {seed}: {metrics:?}");
        tally.wait_until("counted", || total(&tally, seed) >= 25_000);
    }
    // What came twice is judged too.
    let lag = || {
        let answer = tally.get("/v1/admin/partitions").json();
        let partitions = answer["partitions"].as_array().expect("partitions").clone();
        partitions.iter().filter_map(|partition| partition["lag_events"].as_u64()).sum::<u64>()
    };
    tally.wait_until("judged", || lag() == 0);
    assert_eq!((total(&tally, 1), total(&tally, 2)), (25_000, 25_000));
}

#[test]
fn a_server_that_is_down_sees_a_few_trials_and_the_breaker_opens_and_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let tally = Tally::start(folder.path(), &[]);
    runtime().block_on(async {
        let proxy = Proxy::start(tally.addr, 3).await;
        proxy.set_down(true);
        let mut options = options(&proxy.url, Some(&folder.path().join("spool")));
        options.endpoints.breaker.open_for = SECOND;
        // The proxy says that it is ready: the breaker alone stops requests here.
        options.retry_budget = Default::default();
        let budget = options.retry_budget;
        let tracker = Tracker::start(options).await.expect("it starts");
        let began = Instant::now();
        for _ in 0..20_000 {
            tracker.track_wait(&Event::new("down")).await.expect("it is open");
        }
        tracker.flush().await;
        let metrics = tracker.metrics();
        let (first, seconds) = (metrics.requests - metrics.retries, began.elapsed().as_secs_f64());
        let most =
            f64::from(budget.burst) + budget.ratio * first as f64 + budget.per_second * seconds;
        assert!(metrics.retries as f64 <= most, "{metrics:?}");
        // Five failures open it; then one trial a second and less.
        let few = 5 + 4 + seconds as u64 + 1;
        assert!(proxy.requests() <= few, "{} requests, {metrics:?}", proxy.requests());
        assert_eq!((metrics.spooled, metrics.lost), (20_000, 0), "{metrics:?}");
        proxy.set_down(false);
        tracker.drained().await;
        let metrics = tracker.close(SECOND).await;
        assert_eq!(metrics.drained, 20_000);
    });
    tally.wait_until("counted", || tally.count("down") >= 20_000);
    assert_eq!(tally.count("down"), 20_000);
}

/// What is killed below: it tracks, and prints the item of each event that is safe.
#[test]
#[ignore = "the child of the tests that kill it"]
fn spooling_child() {
    let (Ok(url), Ok(spool)) = (std::env::var(CHILD_URL), std::env::var(CHILD_SPOOL)) else {
        return;
    };
    runtime().block_on(async {
        let mut options = options(&url, Some(Path::new(&spool)));
        options.batch_events = 20;
        let tracker = Tracker::start(options).await.expect("it starts");
        for n in 0..10 * SAFE {
            let item = item(std::process::id(), n);
            let event = Event::new(&item);
            let receipt = tracker.track_wait_with_receipt(&event).await.expect("it is open");
            tokio::spawn(async move {
                if let Fate::Spooled | Fate::Accepted = receipt.await {
                    let mut out = std::io::stdout().lock();
                    let _ = writeln!(out, "\nsafe:{item}").and_then(|()| out.flush());
                }
            });
        }
        // Until it is killed.
        std::future::pending::<()>().await;
    });
}

/// The n-th event of a child has an item of its own.
fn item(child: u32, n: usize) -> String {
    format!("safe-{child}-{n}")
}

/// Starts a child and kills it when it has called enough events safe. Its process id, and what it
/// called so until it died.
fn kill_a_child(url: &str, spool: &Path) -> (u32, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "tracker::spooling_child", "--ignored", "--nocapture"])
        .env(CHILD_URL, url)
        .env(CHILD_SPOOL, spool)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut items =
        lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("safe:")?.to_owned()));
    let mut safe: Vec<String> = items.by_ref().take(SAFE).collect();
    child.kill().expect("it runs");
    safe.extend(items);
    child.wait().expect("it ends");
    assert!(safe.len() >= SAFE, "it died early");
    (child.id(), safe)
}

/// Drains the spool. Then each event that was called safe counts once, and none counts twice.
fn assert_safe(tally: &Tally, spool: &Path, children: &[(u32, Vec<String>)]) -> TrackerMetrics {
    let url = format!("http://{}", tally.addr);
    let metrics = runtime().block_on(async {
        let tracker = Tracker::start(options(&url, Some(spool))).await.expect("it starts");
        tracker.drained().await;
        tracker.close(SECOND).await
    });
    assert_eq!(metrics.spool_damaged_bytes, 0);
    let counts = |items: &[String]| -> Vec<u64> {
        let asked: String = items.iter().map(|item| format!("&item={item}")).collect();
        let answer = tally.get(&format!("/v1/counts?type=view{asked}")).json();
        let counts = answer["counts"].as_array().expect("counts").clone();
        counts.iter().map(|row| row["count"].as_u64().expect("a number")).collect()
    };
    for (child, safe) in children {
        tally.wait_until("all counted", || {
            safe.chunks(200).all(|items| counts(items).iter().all(|count| *count >= 1))
        });
        let all: Vec<String> = (0..10 * SAFE).map(|n| item(*child, n)).collect();
        for items in all.chunks(200) {
            assert!(
                counts(items).iter().all(|count| *count <= 1),
                "{items:?}: {:?}",
                counts(items)
            );
        }
    }
    metrics
}

#[test]
fn a_client_killed_while_it_spools_loses_and_doubles_nothing_that_it_called_safe() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool");
    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", nobody.local_addr().expect("bound"));
    drop(nobody);
    let children: Vec<_> = (0..3).map(|_| kill_a_child(&url, &spool)).collect();
    let tally = Tally::start(folder.path(), &[]);
    let metrics = assert_safe(&tally, &spool, &children);
    let safe: usize = children.iter().map(|(_, safe)| safe.len()).sum();
    assert!(metrics.drained >= safe as u64, "{metrics:?}");
}

#[test]
fn a_client_killed_behind_a_bad_network_that_comes_and_goes_doubles_nothing_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool");
    let tally = Tally::start(folder.path(), &[]);
    let runtime = runtime();
    let proxy = runtime.block_on(Proxy::start(tally.addr, 4));
    let switched = std::sync::Arc::clone(&proxy);
    runtime.spawn(async move {
        for turn in 0_u32.. {
            switched.set_down(turn % 2 == 1);
            tokio::time::sleep(SECOND / 8).await;
        }
    });
    let children: Vec<_> = (0..3).map(|_| kill_a_child(&proxy.url, &spool)).collect();
    assert_safe(&tally, &spool, &children);
}
