//! What the processes of one log share beside it: what is known of items, and dead letters.

use std::process::Command;

use serde_json::Value;

use super::role::Role;
use super::server::{Server, wait_for};
use super::{place, produce};

/// Asks with a method and a body; the status and the answer.
fn ask(method: &str, url: &str, body: &str) -> (u16, Value) {
    let output = Command::new("curl")
        .args(["-s", "-m", "30", "-w", "\n%{http_code}", "-X", method, "-d", body])
        .args(["-H", "Content-Type: application/json", url])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), serde_json::from_str(answer).unwrap_or_default())
}

#[test]
fn all_know_of_items_what_one_was_told() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, _) = place();
    let flags = ["--log", &place, "--partitions", "2"];
    let server = Server::start(&scratch.path().join("serve"), &flags);
    let start = || Role::start("query", 0, &scratch.path().join("query"), &flags);
    let mut query = start();
    let item = |url: &str| format!("{url}/v1/items/v1");
    let title = |url: &str| {
        let (status, answer) = ask("GET", &item(url), "");
        (status, answer["title"].as_str().unwrap_or_default().to_owned())
    };
    let (status, _) = ask("PUT", &item(&server.url), r#"{"title":"First","channel":"c"}"#);
    assert_eq!(status, 201);
    assert_eq!(title(&server.url), (200, "First".to_owned()), "whoever writes reads it");
    wait_for("it is known elsewhere", || title(&query.url) == (200, "First".to_owned()));
    let (status, _) = ask("PUT", &item(&query.url), r#"{"title":"Second"}"#);
    assert_eq!(status, 200);
    query.kill();
    wait_for("it is known here", || title(&server.url) == (200, "Second".to_owned()));
    assert_eq!(ask("DELETE", &item(&server.url), "").0, 204);
    let query = start();
    assert_eq!(title(&query.url).0, 404, "what went while it was away is gone");
    assert!(query.stop() && server.stop(), "SIGTERM ends both with status 0");
}

#[test]
fn a_query_node_lists_replays_and_drops_dead_letters() {
    let scratch = tempfile::tempdir().expect("a folder");
    let (place, topic) = place();
    let log = format!("{place}?group={topic}");
    let counters = scratch.path().join("counters");
    let gateway = Role::start(
        "gateway",
        0,
        &scratch.path().join("gateway"),
        &["--log", &log, "--partitions", "2"],
    );
    let processor =
        || Role::start("processor", 0, &counters, &["--log", &log, "--flush-interval", "100ms"]);
    let first = processor();
    produce(&topic, "garbage\nmore garbage\n");
    wait_for("they are flushed", || {
        let letters = |p: &Value| p["dead_letters"].as_u64().unwrap_or(0);
        let partitions = first.partitions();
        partitions.iter().map(letters).sum::<u64>() == 2
            && partitions.iter().all(|p| p["next_offset"] == p["checkpoint_offset"])
    });
    assert!(first.stop(), "SIGTERM ends it with status 0");
    let query = Role::start("query", 0, &counters, &["--log", &log]);
    let letters = |state: &str| {
        let (_, answer) = ask("GET", &format!("{}/v1/admin/dead-letters", query.url), "");
        let all = answer["dead_letters"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|letter| letter["state"] == state).cloned().collect::<Vec<_>>()
    };
    let open = letters("open");
    assert_eq!(open.len(), 2, "{open:?}");
    let url = |at: usize| {
        let (partition, offset) = (&open[at]["partition"], &open[at]["offset"]);
        format!("{}/v1/admin/dead-letters/{partition}/{offset}", query.url)
    };
    let replay = format!("{}/replay", url(0));
    let (status, answer) = ask("POST", &replay, r#"{"item":"saved"}"#);
    assert!((200..300).contains(&status), "{status}: {answer}");
    assert_eq!(ask("POST", &replay, r#"{"item":"saved"}"#).0, 409, "once only");
    assert_eq!(ask("DELETE", &url(1), "").0, 200);
    assert_eq!((letters("open").len(), letters("replayed").len()), (0, 1));
    assert!(query.stop(), "SIGTERM ends it with status 0");
    let second = processor();
    wait_for("the replay is counted", || second.counted() == 1);
    assert!(second.stop() && gateway.stop(), "SIGTERM ends both with status 0");
    let query = Role::start("query", 0, &counters, &["--log", &log]);
    let (_, answer) = ask("GET", &format!("{}/v1/items/saved/count", query.url), "");
    assert_eq!(answer["count"], 1);
}
