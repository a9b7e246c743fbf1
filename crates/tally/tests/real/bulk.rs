//! The bulk lane with a real file: the server is killed while it counts it.

use super::data::assert_totals;
use super::server::{Server, data_file, free_port, truth};

const NAME: &str = "flights-2001-jan-apr";

#[test]
fn a_file_is_counted_once_though_the_server_is_killed_in_between() {
    let scratch = tempfile::tempdir().expect("a folder");
    let data_dir = scratch.path().join("data");
    let flags = ["--max-event-age", "40y", "--flush-interval", "1s"];
    let port = free_port();
    let mut server = Server::start_on(port, &data_dir, &flags);
    let truth = truth(NAME);
    let events = truth["events"].as_u64().expect("a number");
    let file = data_file(&format!("{NAME}.csv.zst"));
    let file = file.to_str().expect("a plain name");
    let jobs = server.ask(&["send", "--bulk", file]);
    let id = jobs[0]["id"].as_str().expect("an id").to_owned();
    let job = |server: &Server| -> serde_json::Value {
        let text = server.get(&format!("/v1/bulk/{id}")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    for kill in 1..=5 {
        let share = events * kill / 10;
        server.wait_for("some of it is accepted", || {
            job(&server)["accepted"].as_u64() >= Some(share)
        });
        assert_ne!(job(&server)["state"], "done", "it ended before kill {kill}");
        server.kill();
        server = Server::start_on(port, &data_dir, &flags);
    }
    let jobs = server.ask(&["send", "--bulk", "--wait", file]);
    assert_eq!((&jobs[0]["id"], &jobs[0]["state"]), (&id.clone().into(), &"done".into()), "{jobs}");
    assert_eq!(jobs[0]["accepted"], truth["events"]);
    server.wait_for("everything is counted", || server.metric("tally_partition_lag_events") == 0.0);
    assert_totals(&server, &truth);
}
