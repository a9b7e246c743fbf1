//! When the dedup window is full the gateway refuses before it accepts: nothing is forgotten,
//! nothing is lost, and questions are answered.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use super::server::Server;

/// Events in a request.
const BATCH: u64 = 20_000;

/// Sends a file of events; status, `Retry-After` and body of the answer.
fn post(server: &Server, path: &std::path::Path) -> (u16, Option<u64>, Value) {
    let output = Command::new("curl")
        .args(["-s", "-m", "30", "-H", "Content-Type: application/x-ndjson"])
        .args(["-w", "\n%{http_code} %header{retry-after}", "--data-binary"])
        .arg(format!("@{}", path.display()))
        .arg(format!("{}/v1/events", server.url))
        .output()
        .expect("curl runs");
    let text = String::from_utf8(output.stdout).expect("an answer is text");
    let (body, status) = text.rsplit_once('\n').expect("a body and a status");
    let (status, retry_after) = status.split_once(' ').expect("a status and a header");
    let body = serde_json::from_str(body).expect("an answer is JSON");
    (status.parse().expect("a status"), retry_after.parse().ok(), body)
}

#[test]
fn a_full_dedup_window_refuses_before_it_accepts() {
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"), &["--dedup-memory", "16MiB"]);
    let file = scratch.path().join("events");
    let (mut accepted, mut refusal) = (0, None);
    for request in 0..200 {
        let mut body = String::new();
        for event in 0..BATCH {
            writeln!(body, "{{\"id\":\"{request}-{event}\",\"item\":\"i\"}}").expect("memory");
        }
        std::fs::write(&file, &body).expect("a file");
        let (status, retry_after, answer) = post(&server, &file);
        if status != 202 {
            refusal = Some((status, retry_after, answer));
            break;
        }
        accepted += answer["accepted"].as_u64().expect("a number");
        // The bound is on what is counted: let the window see these.
        server.wait_for("everything is counted", || {
            server.metric("tally_partition_lag_events") == 0.0
        });
    }
    let (status, retry_after, problem) = refusal.expect("the window fills up");
    assert_eq!(status, 503, "{problem}");
    assert!(retry_after.is_some_and(|seconds| seconds > 0), "it says when to come back");
    assert_eq!(problem["status"], 503);
    assert!(problem["detail"].as_str().expect("a text").contains("dedup"), "{problem}");
    assert_eq!(server.ask(&["count", "i"])["count"], accepted, "all that was accepted, no more");
}
