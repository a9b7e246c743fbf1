//! `kill -9` under load: a client that retries sends a real file through a server that is killed
//! 20 times; every event counts exactly once.

use std::process::{Command, Stdio};

use super::data::assert_totals;
use super::server::{Server, TALLY, data_file, free_port, truth, wait_for};

const KILLS: u64 = 20;
const NAME: &str = "flights-2001-jan-apr";

#[test]
fn killed_twenty_times_under_load_counts_every_event_once() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    let flags = ["--max-event-age", "40y", "--flush-interval", "1s"];
    let port = free_port();
    let mut server = Server::start_on(port, &data_dir, &flags);
    let truth = truth(NAME);
    let events = truth["events"].as_u64().expect("a number");
    let mut client = Command::new(TALLY)
        // Small requests, two at a time: the file lasts for all kills, however fast the machine.
        .args(["send", "--retry-for", "120", "--batch", "100", "--in-flight", "2"])
        .arg(data_file(&format!("{NAME}.csv.zst")))
        .env("TALLY_URL", &server.url)
        .env("XDG_STATE_HOME", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    for kill in 0..KILLS {
        // So few more events each time that the last kill comes long before the end of the file,
        // however many are accepted before this looks again.
        let share = (events / (4 * KILLS)) as f64;
        let is_far_enough = || server.metric("tally_events_accepted_total") >= share;
        let mut ended = false;
        wait_for("enough events are accepted", || {
            ended = client.try_wait().expect("the client can be asked").is_some();
            ended || is_far_enough()
        });
        if ended {
            let output = client.wait_with_output().expect("it has ended");
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("the client ended before kill {kill}, with {}: {said}", output.status);
        }
        server.kill();
        server = Server::start_on(port, &data_dir, &flags);
    }
    let output = client.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    server.wait_for("everything is counted", || server.metric("tally_partition_lag_events") == 0.0);
    assert_totals(&server, &truth);
    server.kill();
    let server = Server::start_on(port, &data_dir, &flags);
    assert_totals(&server, &truth);
    assert!(server.stop(), "SIGTERM ends it with status 0");
}
