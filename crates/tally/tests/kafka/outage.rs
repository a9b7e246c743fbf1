//! The broker is killed under load, and comes back: nothing is lost, nothing counts twice, answers
//! go on, and events are refused before anything is written while nobody confirms them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{Server, wait_for};
use super::{count, events_file, send, wait_for_count};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka");

/// A broker of its own; stopped when dropped.
struct Broker {
    dir: PathBuf,
    address: String,
}

impl Broker {
    fn start(dir: &Path) -> Self {
        let mut broker = Self { dir: dir.to_owned(), address: String::new() };
        broker.start_again();
        broker
    }

    fn start_again(&mut self) {
        let output = Command::new(SCRIPT)
            .arg("start")
            .arg(&self.dir)
            .stderr(Stdio::inherit())
            .output()
            .expect("the script runs");
        assert!(output.status.success(), "the broker starts");
        self.address = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }

    /// Ends it as `kill -9` does.
    fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("a process id");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill runs");
        assert!(killed.success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Best effort: the test may fail for a better reason.
        drop(Command::new(SCRIPT).arg("stop").arg(&self.dir).status());
    }
}

/// The status of a request that sends one event.
fn post(server: &Server, id: &str) -> String {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "60"])
        .args(["-H", "Content-Type: application/json", "-d"])
        .arg(format!(r#"{{"item":"single","id":"{id}"}}"#))
        .arg(format!("{}/v1/events", server.url))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_broker_that_is_killed_under_load_costs_time_and_no_event() {
    const EVENTS: u64 = 60_000;
    const ITEMS: u64 = 31;
    let scratch = tempfile::tempdir().expect("a folder");
    let mut broker = Broker::start(&scratch.path().join("broker"));
    let place = format!("kafka://{}/outage", broker.address);
    let flags = ["--log", &place, "--partitions", "3", "--flush-interval", "300ms"];
    let server = Server::start(&scratch.path().join("data"), &flags);
    let file = events_file(scratch.path(), "e", EVENTS, ITEMS);
    let mut client = send(&file, &server.url, scratch.path());
    let mut wait_for_share = |share: u64| {
        let mut ended = false;
        wait_for("enough is counted", || {
            ended = client.try_wait().expect("it can be asked").is_some();
            ended || server.metric("tally_events_counted_total") >= (EVENTS / share) as f64
        });
        assert!(!ended, "the client ended too soon");
    };
    wait_for_share(8);
    broker.kill();
    // What was taken before is in doubt for a while; then nothing is taken any more.
    wait_for("events are refused", || post(&server, "refused") == "503");
    assert!(count(&server, "item-0") > 0, "questions are answered meanwhile");
    broker.start_again();
    wait_for_share(4);
    broker.kill();
    broker.start_again();
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for item in 0..ITEMS {
        wait_for_count(&server, &format!("item-{item}"), (EVENTS - item).div_ceil(ITEMS));
    }
    wait_for("events are taken again", || post(&server, "again") == "202");
    broker.kill();
    assert!(server.stop(), "without a broker too SIGTERM ends it with status 0");
}
